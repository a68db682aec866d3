//! Whether LMDB can be trusted with a file.
//!
//! LMDB follows what its pages say without checking it, so a file that was cut short or overwritten
//! could end the process. Before LMDB looks at a file's trees, this module reads the same pages through
//! ordinary reads and checks all that LMDB would follow: which pages belong together, where nodes lie,
//! what is free. It does not look into rows; the checksums of the codec do that.

use std::cmp::Ordering;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use crate::environment::{META_DB, ROWS_DB};
use crate::pages::{
    BIG, BRANCH, DATA_VERSION, INTEGER_KEY, LEAF, MAGIC, META, META_END, Meta, N_METAS, NO_PAGE,
    NODE_HEADER, Node, OVERFLOW, PAGE_HEADER, Page, SUB, TREE, Tree, u64_at,
};

/// LMDB's own limit for the depth of a tree.
const MAX_DEPTH: u16 = 32;
const MAX_KEY: usize = 511;
/// Pages between two looks at whether to go on.
const PAGES_PER_LOOK: u64 = 4_096;

/// Why a file is not to be opened, or a check has no result.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The file contradicts itself.
    Damaged(String),
    /// The file is LMDB's, of another version.
    OtherVersion(u32),
    /// The state that was to be checked has been overwritten by newer ones.
    Stale,
    /// The caller does not want to know any more.
    Stopped,
    /// The file cannot be read.
    Io(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// How much of a file is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All pages.
    Whole,
    /// All but the leaf pages of rows.
    Branches,
}

/// What a file's start tells.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) file_bytes: u64,
    pub(crate) page_bytes: u64,
    pub(crate) metas: [Meta; 2],
}

impl Head {
    /// The last page of the greater of the two states, plus one.
    pub(crate) fn n_pages(&self) -> u64 {
        let last = self.metas.iter().map(|meta| meta.last_page).max();
        last.unwrap_or(0).saturating_add(1)
    }
}

fn damaged<T>(what: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Damaged(what.into()))
}

fn read_at(mut file: &File, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(bytes)
}

/// Reads and checks both meta pages of a file.
pub(crate) fn head(path: &Path) -> Result<Head, Fault> {
    let file = File::open(path)?;
    let read = || -> Result<Head, Fault> { read_head(&file) };
    // A state that is being written may be seen by halves; it is whole a moment later.
    match read() {
        Err(Fault::Damaged(_)) => {
            std::thread::sleep(std::time::Duration::from_millis(2));
            read()
        }
        other => other,
    }
}

fn read_head(file: &File) -> Result<Head, Fault> {
    let file_bytes = file.metadata()?.len();
    let mut page = [0_u8; META_END];
    if file_bytes < META_END as u64 {
        return damaged(format!("it ends after {file_bytes} bytes"));
    }
    read_at(file, 0, &mut page)?;
    let first = checked_meta(&page, 0)?;
    let page_bytes = u64::from(first.free.pad);
    if !(page_bytes.is_power_of_two() && (512..=65_536).contains(&page_bytes)) {
        return damaged(format!("its pages are said to have {page_bytes} bytes"));
    }
    if file_bytes < N_METAS * page_bytes {
        return damaged(format!("it ends after {file_bytes} bytes"));
    }
    read_at(file, page_bytes, &mut page)?;
    let second = checked_meta(&page, 1)?;
    if second.free.pad != first.free.pad {
        return damaged("its meta pages disagree about the size of pages");
    }
    let head = Head {
        file_bytes,
        page_bytes,
        metas: [first, second],
    };
    for meta in &head.metas {
        // LMDB maps as much as this says, so it must be within reason. Pages at the end that were
        // freed before they were ever written are not in the file, but they are never many.
        let in_file = file_bytes / page_bytes;
        let most = in_file.saturating_mul(4).saturating_add(1 << 18);
        if meta.last_page < N_METAS - 1 || meta.last_page > most {
            return damaged(format!(
                "it has {in_file} pages and says that the last one is {}",
                meta.last_page
            ));
        }
    }
    Ok(head)
}

fn checked_meta(page: &[u8], number: u64) -> Result<Meta, Fault> {
    let meta = Meta::read(page);
    if meta.magic != MAGIC || meta.page_flags != META || Page(page).number() != number {
        return damaged(format!("page {number} is not a meta page of LMDB"));
    }
    if meta.version != DATA_VERSION {
        return Err(Fault::OtherVersion(meta.version));
    }
    if meta.free.flags != INTEGER_KEY || meta.main.flags != 0 {
        return damaged(format!("meta page {number} has unknown flags"));
    }
    Ok(meta)
}

/// Checks the state that the transaction `txn_id` sees. The caller holds that transaction open, so that
/// none of its pages is written to meanwhile.
pub(crate) fn walk(
    path: &Path,
    txn_id: u64,
    extent: Extent,
    go_on: &dyn Fn() -> bool,
) -> Result<(), Fault> {
    let head = head(path)?;
    // A transaction's state is in the meta page of its parity.
    let meta = head.metas[usize::from(txn_id % 2 == 1)];
    if meta.txn_id != txn_id {
        // An empty file has no transaction yet; both meta pages are the same then.
        return Err(Fault::Stale);
    }
    let file = File::open(path)?;
    let n_pages = meta.last_page + 1;
    let words = usize::try_from(n_pages / 64 + 1).unwrap_or(usize::MAX);
    let mut walk = Walk {
        file,
        page_bytes: usize::try_from(head.page_bytes).unwrap_or(usize::MAX),
        n_in_file: head.file_bytes / head.page_bytes,
        n_pages,
        seen: vec![0; words],
        n_read: 0,
        extent,
        go_on,
    };
    walk.tree(&meta.free, Kind::Free)?;
    walk.tree(&meta.main, Kind::Main)?;
    // What lies beyond the file's end was freed before it was written, or is lost.
    for page in walk.n_in_file..n_pages {
        if !walk.is_seen(page) {
            return damaged(format!(
                "it was cut short: it has {} pages of {n_pages}",
                walk.n_in_file
            ));
        }
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Lists of free pages by transaction.
    Free,
    /// The named trees.
    Main,
    /// Rows.
    Rows,
    /// What the file says about itself.
    Meta,
}

impl Kind {
    fn compare(self, a: &[u8], b: &[u8]) -> Ordering {
        match self {
            Self::Free => u64_at(a, 0).cmp(&u64_at(b, 0)),
            _ => a.cmp(b),
        }
    }
}

#[derive(Default)]
struct Counts {
    n_branch: u64,
    n_leaf: u64,
    n_overflow: u64,
    n_entries: u64,
}

struct Walk<'a> {
    file: File,
    page_bytes: usize,
    n_in_file: u64,
    n_pages: u64,
    /// One bit per page that a tree or a free list has claimed.
    seen: Vec<u64>,
    n_read: u64,
    extent: Extent,
    go_on: &'a dyn Fn() -> bool,
}

/// Where a page must fit in its tree.
#[derive(Clone, Copy)]
struct Place<'k> {
    kind: Kind,
    /// Levels below it: 0 for leaf pages.
    height: u16,
    /// Keys are at least this, ...
    least: Option<&'k [u8]>,
    /// ... and less than this.
    below: Option<&'k [u8]>,
}

impl Walk<'_> {
    fn is_seen(&self, page: u64) -> bool {
        let word = usize::try_from(page / 64).ok();
        let word = word.and_then(|word| self.seen.get(word));
        word.is_some_and(|bits| bits >> (page % 64) & 1 == 1)
    }

    /// Notes that a page has a use; a page has one.
    fn claim(&mut self, page: u64) -> Result<(), Fault> {
        if page < N_METAS || page >= self.n_pages {
            return damaged(format!("it refers to page {page} of {}", self.n_pages));
        }
        if self.is_seen(page) {
            return damaged(format!("page {page} has two uses"));
        }
        let word = usize::try_from(page / 64).ok();
        if let Some(bits) = word.and_then(|word| self.seen.get_mut(word)) {
            *bits |= 1 << (page % 64);
        }
        Ok(())
    }

    /// Notes a use of a page whose content counts.
    fn claim_written(&mut self, page: u64) -> Result<(), Fault> {
        self.claim(page)?;
        if page >= self.n_in_file {
            return damaged(format!(
                "it was cut short: page {page} is used, and it has {} pages",
                self.n_in_file
            ));
        }
        Ok(())
    }

    fn read(&mut self, page: u64, bytes: &mut [u8]) -> Result<(), Fault> {
        self.n_read += 1;
        if self.n_read.is_multiple_of(PAGES_PER_LOOK) && !(self.go_on)() {
            return Err(Fault::Stopped);
        }
        match read_at(&self.file, page * self.page_bytes as u64, bytes) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                damaged("it was cut short")
            }
            other => Ok(other?),
        }
    }

    fn tree(&mut self, tree: &Tree, kind: Kind) -> Result<(), Fault> {
        let mut counts = Counts::default();
        if tree.root == NO_PAGE {
            if tree.depth != 0 {
                return damaged("an empty tree has a depth");
            }
        } else {
            if tree.depth == 0 || tree.depth > MAX_DEPTH {
                return damaged(format!("a tree has the depth {}", tree.depth));
            }
            let place = Place {
                kind,
                height: tree.depth - 1,
                least: None,
                below: None,
            };
            self.page(tree.root, place, &mut counts)?;
        }
        let whole = self.extent == Extent::Whole || kind != Kind::Rows;
        if counts.n_branch != tree.n_branch
            || counts.n_leaf != tree.n_leaf
            || (whole
                && (counts.n_overflow != tree.n_overflow || counts.n_entries != tree.n_entries))
        {
            return damaged("a tree has other numbers of pages or entries than it says");
        }
        Ok(())
    }

    fn page(&mut self, number: u64, place: Place<'_>, counts: &mut Counts) -> Result<(), Fault> {
        self.claim_written(number)?;
        if place.height == 0 {
            counts.n_leaf += 1;
            if place.kind == Kind::Rows && self.extent == Extent::Branches {
                return Ok(());
            }
        } else {
            counts.n_branch += 1;
        }
        let mut bytes = vec![0_u8; self.page_bytes];
        self.read(number, &mut bytes)?;
        let page = Page(&bytes);
        if page.number() != number {
            return damaged(format!("page {number} says that it is {}", page.number()));
        }
        let flags = if place.height == 0 { LEAF } else { BRANCH };
        if page.flags() != flags {
            return damaged(format!(
                "page {number} is of another kind than its tree says"
            ));
        }
        check_nodes(page, place).or_else(|what| damaged(format!("page {number} {what}")))?;
        let n_nodes = page.n_nodes();
        for index in 0..n_nodes {
            let node = page.node(index);
            if place.height == 0 {
                self.leaf_node(node, place.kind, counts)?;
                continue;
            }
            let below = (index + 1 < n_nodes).then(|| page.node(index + 1).key());
            let child = Place {
                height: place.height - 1,
                least: if index == 0 {
                    place.least
                } else {
                    Some(node.key())
                },
                below: below.or(place.below),
                ..place
            };
            self.page(node.child(), child, counts)?;
        }
        Ok(())
    }

    fn leaf_node(&mut self, node: Node<'_>, kind: Kind, counts: &mut Counts) -> Result<(), Fault> {
        counts.n_entries += 1;
        match kind {
            Kind::Main => {
                let tree = Tree::read(node.after_key());
                let kind = if node.key() == META_DB.as_bytes() {
                    Kind::Meta
                } else if node.key() == ROWS_DB.as_bytes() {
                    Kind::Rows
                } else {
                    return damaged("it holds something other than online rows");
                };
                if node.flags() != SUB || node.data_size() != TREE || tree.flags != 0 {
                    return damaged("the record of a tree is unreadable");
                }
                self.tree(&tree, kind)
            }
            _ if node.flags() == 0 => {
                let data = node.after_key().get(..node.data_size());
                self.data(data.unwrap_or_default(), kind)
            }
            _ if node.flags() == BIG => {
                let first = u64_at(node.after_key(), 0);
                let data = self.overflow(first, node.data_size(), kind, counts)?;
                self.data(&data, kind)
            }
            _ => damaged("a row has unknown flags"),
        }
    }

    /// Checks the overflow pages of a node's data; answers the data where it is looked at.
    fn overflow(
        &mut self,
        first: u64,
        n_bytes: usize,
        kind: Kind,
        counts: &mut Counts,
    ) -> Result<Vec<u8>, Fault> {
        self.claim_written(first)?;
        let mut header = [0_u8; PAGE_HEADER];
        self.read(first, &mut header)?;
        let page = Page(&header);
        let needed = (PAGE_HEADER - 1 + n_bytes) / self.page_bytes + 1;
        if page.number() != first
            || page.flags() != OVERFLOW
            || page.n_overflow() < needed as u64
            || page.n_overflow() > self.n_pages
        {
            return damaged(format!("page {first} does not start a long value"));
        }
        for page in first + 1..first + page.n_overflow() {
            self.claim_written(page)?;
        }
        counts.n_overflow += page.n_overflow();
        if kind != Kind::Free {
            return Ok(Vec::new());
        }
        let mut bytes = vec![0_u8; PAGE_HEADER + n_bytes];
        self.read(first, &mut bytes)?;
        Ok(bytes.split_off(PAGE_HEADER))
    }

    fn data(&mut self, data: &[u8], kind: Kind) -> Result<(), Fault> {
        if kind != Kind::Free {
            return Ok(());
        }
        // A count, then page numbers from the greatest down, then what room was left.
        let n_room = (data.len() / 8).saturating_sub(1) as u64;
        let n_free = u64_at(data, 0);
        if data.len() < 8 || !data.len().is_multiple_of(8) || n_free > n_room {
            return damaged("a list of free pages is unreadable");
        }
        let mut before = u64::MAX;
        for entry in data[8..].chunks_exact(8).take(n_free as usize) {
            let page = u64_at(entry, 0);
            if page >= before {
                return damaged("a list of free pages is out of order");
            }
            self.claim(page)?;
            before = page;
        }
        Ok(())
    }
}

/// Checks where the nodes of a branch or leaf page lie, and their keys.
fn check_nodes(page: Page<'_>, place: Place<'_>) -> Result<(), &'static str> {
    let n_bytes = page.0.len();
    let (lower, upper) = (page.lower(), page.upper());
    if lower < PAGE_HEADER || lower % 2 != 0 || lower > upper || upper > n_bytes {
        return Err("has impossible bounds");
    }
    let n_nodes = page.n_nodes();
    let least = if place.height > 0 && place.kind != Kind::Free {
        2
    } else {
        1
    };
    if n_nodes < least {
        return Err("is empty");
    }
    let mut extents = Vec::with_capacity(n_nodes);
    let mut before: Option<&[u8]> = None;
    for index in 0..n_nodes {
        let offset = page.node_offset(index);
        if offset < upper || !offset.is_multiple_of(2) || offset + NODE_HEADER > n_bytes {
            return Err("has a node outside of itself");
        }
        let node = page.node(index);
        let data = match (place.height, node.flags()) {
            (1.., _) => 0,
            (0, BIG) => 8,
            (0, _) => node.data_size(),
        };
        let end = offset + NODE_HEADER + node.key_size() + data;
        if end > n_bytes {
            return Err("has a node that ends outside of itself");
        }
        extents.push((offset, end));
        // The first key of a branch page stands for everything below the second, and is not read.
        if place.height > 0 && index == 0 {
            continue;
        }
        let key = node.key();
        let fits = match place.kind {
            Kind::Free => key.len() == 8,
            _ => (1..=MAX_KEY).contains(&key.len()),
        };
        if !fits {
            return Err("has a key of impossible length");
        }
        let ascends = before.is_none_or(|before| place.kind.compare(before, key).is_lt());
        let above = place
            .least
            .is_none_or(|least| place.kind.compare(least, key).is_le());
        let under = place
            .below
            .is_none_or(|below| place.kind.compare(key, below).is_lt());
        if !(ascends && above && under) {
            return Err("has keys out of order");
        }
        before = Some(key);
    }
    extents.sort_unstable();
    if extents.windows(2).any(|pair| pair[0].1 > pair[1].0) {
        return Err("has nodes that overlap");
    }
    Ok(())
}
