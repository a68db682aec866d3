//! LMDB's file format (data version 1), as far as checking it needs: meta pages, page headers, nodes.
//!
//! Decides nothing about what is right; it only reads bytes without ever reaching beyond them. The
//! layout is that of `mdb.c` (<https://github.com/LMDB/lmdb>), in the byte order of the machine.

#[cfg(not(target_pointer_width = "64"))]
compile_error!("LMDB's file format differs on machines of other than 64 bits");

/// What marks a file as LMDB's.
pub(crate) const MAGIC: u32 = 0xBEEF_C0DE;
/// The version of the file format that is read and written.
pub(crate) const DATA_VERSION: u32 = 1;
/// Bytes before a page's node offsets.
pub(crate) const PAGE_HEADER: usize = 16;
/// Bytes before a node's key.
pub(crate) const NODE_HEADER: usize = 8;
/// The root of an empty tree.
pub(crate) const NO_PAGE: u64 = u64::MAX;
/// Meta pages at a file's start.
pub(crate) const N_METAS: u64 = 2;
/// Bytes of a tree's record.
pub(crate) const TREE: usize = 48;
/// From a file's start to the end of what the first meta page holds.
pub(crate) const META_END: usize = PAGE_HEADER + 136;

pub(crate) const BRANCH: u16 = 0x01;
pub(crate) const LEAF: u16 = 0x02;
pub(crate) const OVERFLOW: u16 = 0x04;
pub(crate) const META: u16 = 0x08;

/// A node's data is on overflow pages.
pub(crate) const BIG: u16 = 0x01;
/// A node's data is a tree.
pub(crate) const SUB: u16 = 0x02;
/// Keys are integers: the flag of the tree of free pages.
pub(crate) const INTEGER_KEY: u16 = 0x08;

/// Reads numbers; what lies beyond the bytes is zero, which no check takes for right.
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    let found = bytes.get(at..at + 2).and_then(|b| b.try_into().ok());
    found.map_or(0, u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let found = bytes.get(at..at + 4).and_then(|b| b.try_into().ok());
    found.map_or(0, u32::from_ne_bytes)
}

/// The 64-bit number at `at`.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let found = bytes.get(at..at + 8).and_then(|b| b.try_into().ok());
    found.map_or(0, u64::from_ne_bytes)
}

/// The record of one tree of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tree {
    pub(crate) pad: u32,
    pub(crate) flags: u16,
    pub(crate) depth: u16,
    pub(crate) n_branch: u64,
    pub(crate) n_leaf: u64,
    pub(crate) n_overflow: u64,
    pub(crate) n_entries: u64,
    pub(crate) root: u64,
}

impl Tree {
    pub(crate) fn read(bytes: &[u8]) -> Self {
        Self {
            pad: u32_at(bytes, 0),
            flags: u16_at(bytes, 4),
            depth: u16_at(bytes, 6),
            n_branch: u64_at(bytes, 8),
            n_leaf: u64_at(bytes, 16),
            n_overflow: u64_at(bytes, 24),
            n_entries: u64_at(bytes, 32),
            root: u64_at(bytes, 40),
        }
    }
}

/// A meta page: one state of the whole file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) page_flags: u16,
    pub(crate) magic: u32,
    pub(crate) version: u32,
    pub(crate) map_size: u64,
    /// The tree of free pages; its `pad` is the page size.
    pub(crate) free: Tree,
    pub(crate) main: Tree,
    pub(crate) last_page: u64,
    pub(crate) txn_id: u64,
}

impl Meta {
    /// Reads a page of at least [`META_END`] bytes.
    pub(crate) fn read(page: &[u8]) -> Self {
        let meta = page.get(PAGE_HEADER..).unwrap_or_default();
        Self {
            page_flags: u16_at(page, 10),
            magic: u32_at(meta, 0),
            version: u32_at(meta, 4),
            map_size: u64_at(meta, 16),
            free: Tree::read(meta.get(24..).unwrap_or_default()),
            main: Tree::read(meta.get(72..).unwrap_or_default()),
            last_page: u64_at(meta, 120),
            txn_id: u64_at(meta, 128),
        }
    }
}

/// One page of a tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page<'a>(pub(crate) &'a [u8]);

impl<'a> Page<'a> {
    pub(crate) fn number(self) -> u64 {
        u64_at(self.0, 0)
    }

    pub(crate) fn flags(self) -> u16 {
        u16_at(self.0, 10)
    }

    /// Where the free space of a branch or leaf page starts.
    pub(crate) fn lower(self) -> usize {
        usize::from(u16_at(self.0, 12))
    }

    /// Where it ends.
    pub(crate) fn upper(self) -> usize {
        usize::from(u16_at(self.0, 14))
    }

    /// How many pages an overflow page and those after it are.
    pub(crate) fn n_overflow(self) -> u64 {
        u64::from(u32_at(self.0, 12))
    }

    /// How many nodes a branch or leaf page has.
    pub(crate) fn n_nodes(self) -> usize {
        self.lower().saturating_sub(PAGE_HEADER) / 2
    }

    /// Where a node lies.
    pub(crate) fn node_offset(self, index: usize) -> usize {
        usize::from(u16_at(self.0, PAGE_HEADER + 2 * index))
    }

    pub(crate) fn node(self, index: usize) -> Node<'a> {
        Node(self.0.get(self.node_offset(index)..).unwrap_or_default())
    }
}

/// One node: a key, and a child's page number or data.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node<'a>(&'a [u8]);

impl<'a> Node<'a> {
    fn halves(self) -> (u64, u64) {
        let (first, second) = (u64::from(u16_at(self.0, 0)), u64::from(u16_at(self.0, 2)));
        if cfg!(target_endian = "little") {
            (first, second)
        } else {
            (second, first)
        }
    }

    pub(crate) fn flags(self) -> u16 {
        u16_at(self.0, 4)
    }

    pub(crate) fn key_size(self) -> usize {
        usize::from(u16_at(self.0, 6))
    }

    /// The child of a branch page's node.
    pub(crate) fn child(self) -> u64 {
        let (low, high) = self.halves();
        low | high << 16 | u64::from(self.flags()) << 32
    }

    /// How many bytes of data a leaf page's node has, here or on overflow pages.
    pub(crate) fn data_size(self) -> usize {
        let (low, high) = self.halves();
        // Both halves have 16 bits, and usize has 64.
        (low | high << 16) as usize
    }

    pub(crate) fn key(self) -> &'a [u8] {
        self.0
            .get(NODE_HEADER..NODE_HEADER + self.key_size())
            .unwrap_or_default()
    }

    /// Everything after the key, the node's data first.
    pub(crate) fn after_key(self) -> &'a [u8] {
        self.0
            .get(NODE_HEADER + self.key_size()..)
            .unwrap_or_default()
    }
}
