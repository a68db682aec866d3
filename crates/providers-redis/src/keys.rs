//! The keys of everything that this crate keeps in Redis, byte for byte.
//!
//! Decides what stands around the codec's key bytes, and which slot of a cluster a key belongs to. All
//! views of one entity share a slot, since the hash tag holds the prefix and the entity's key alone. What
//! is under a key is not decided here.

use provender_core::provider::ViewVersion;
use sha2::{Digest, Sha256};

/// The slots of a cluster.
pub(crate) const N_SLOTS: u16 = 16_384;
/// The characters of a view's id.
pub(crate) const ID_LEN: usize = 10;
const ID_ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// What a key ends with: a view's version, in ten characters.
pub(crate) type ViewId = [u8; ID_LEN];

/// The keys under one prefix.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    prefix: Box<str>,
}

impl Keys {
    pub(crate) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.into(),
        }
    }

    /// The id of a view's version: 60 bits of a SHA-256, as base64url. The prefix takes part, so that two
    /// prefixes of which one starts with the other never meet.
    pub(crate) fn id(&self, view: &ViewVersion) -> ViewId {
        let mut hash = Sha256::new();
        for part in [&*self.prefix, &view.project, &view.view] {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        hash.update(view.version.to_string().as_bytes());
        let hash = hash.finalize();
        let mut bits = 0_u64;
        for byte in hash.iter().take(8) {
            bits = bits << 8 | u64::from(*byte);
        }
        let mut id = [0; ID_LEN];
        for (index, character) in id.iter_mut().enumerate() {
            let six = bits >> (58 - 6 * index) & 63;
            *character = ID_ALPHABET[six as usize];
        }
        id
    }

    /// Appends what a row's key starts with; the codec's key bytes follow.
    #[inline]
    pub(crate) fn begin_row(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        out.extend_from_slice(self.prefix.as_bytes());
    }

    /// Appends what a row's key ends with.
    #[inline]
    pub(crate) fn end_row(id: &ViewId, out: &mut Vec<u8>) {
        out.push(b'}');
        out.extend_from_slice(id);
    }

    /// A pattern for SCAN that all keys of a view's rows match. Nothing in a prefix or an id has a meaning
    /// of its own in patterns.
    pub(crate) fn row_pattern(&self, id: &ViewId) -> Vec<u8> {
        let mut pattern = Vec::new();
        self.begin_row(&mut pattern);
        pattern.push(b'*');
        Self::end_row(id, &mut pattern);
        pattern
    }

    /// Where the versions of a project's views are listed.
    pub(crate) fn views(&self, project: &str) -> Vec<u8> {
        format!("{}views:{project}", self.prefix).into_bytes()
    }

    /// Where the marks of a view's version lie on the server that holds the slot of `tag`.
    pub(crate) fn marks(&self, id: &ViewId, tag: u32) -> Vec<u8> {
        let mut key = format!("{}marks:{{{tag}}}", self.prefix).into_bytes();
        key.extend_from_slice(id);
        key
    }
}

/// What a view's version is called where versions are listed.
pub(crate) fn view_field(view: &ViewVersion) -> Vec<u8> {
    format!("{}@{}", view.view, view.version).into_bytes()
}

/// The version that a list names, if it is one.
pub(crate) fn view_of_field(project: &str, field: &[u8]) -> Option<ViewVersion> {
    let (view, version) = std::str::from_utf8(field).ok()?.rsplit_once('@')?;
    Some(ViewVersion {
        project: project.to_owned(),
        view: view.to_owned(),
        version: version.parse().ok()?,
    })
}

/// The slot of a key, as a cluster computes it: the CRC-16 of what stands between the first `{` and the
/// next `}` if that is something, else of the whole key.
pub(crate) fn slot(key: &[u8]) -> u16 {
    let tagged = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let close = rest.iter().position(|byte| *byte == b'}')?;
        (close > 0).then(|| &rest[..close])
    });
    crc16(tagged.unwrap_or(key)) % N_SLOTS
}

/// The least number whose text lies in a slot.
pub(crate) fn tag_of(wanted: u16) -> u32 {
    let mut text = Vec::with_capacity(10);
    (0..u32::MAX)
        .find(|tag| {
            text.clear();
            text.extend_from_slice(tag.to_string().as_bytes());
            crc16(&text) % N_SLOTS == wanted
        })
        .unwrap_or(0)
}

/// The CRC-16 of XMODEM, which Redis Cluster uses.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (crc << 8) ^ CRC16[usize::from((crc >> 8) as u8 ^ byte)]
    })
}

const CRC16: [u16; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = (index as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 {
                crc << 1
            } else {
                crc << 1 ^ 0x1021
            };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    fn view(project: &str, view: &str, version: u32) -> ViewVersion {
        ViewVersion {
            project: project.to_owned(),
            view: view.to_owned(),
            version,
        }
    }

    fn row_key(keys: &Keys, id: &ViewId, entity: &[u8]) -> Vec<u8> {
        let mut key = Vec::new();
        keys.begin_row(&mut key);
        key.extend_from_slice(entity);
        Keys::end_row(id, &mut key);
        key
    }

    /// The example of docs.md.
    #[test]
    fn keys_are_as_documented() {
        let keys = Keys::new("pv:");
        let id = keys.id(&view("nyc_flights", "airport_weather", 1));
        assert_eq!(
            String::from_utf8_lossy(&row_key(&keys, &id, b"JFK")),
            format!("{{pv:JFK}}{}", String::from_utf8_lossy(&id))
        );
        assert_eq!(keys.views("nyc_flights"), b"pv:views:nyc_flights");
        assert_eq!(keys.row_pattern(&id)[..5], *b"{pv:*");
        assert_eq!(&id, b"3J8Zpcp5kA");
    }

    #[test]
    fn views_of_one_entity_share_a_slot() {
        let keys = Keys::new("pv:");
        for entity in [&b"JFK"[..], b"", b"}", b"a}b", b"{", b"{}x", b"\x00\xff\n"] {
            let slots: Vec<u16> = (1..20)
                .map(|version| {
                    let id = keys.id(&view("p", "v", version));
                    slot(&row_key(&keys, &id, entity))
                })
                .collect();
            assert!(slots.iter().all(|slot| *slot == slots[0]), "{slots:?}");
        }
    }

    #[test]
    fn ids_differ_by_each_part() {
        let keys = Keys::new("pv:");
        let ids = [
            keys.id(&view("p", "v", 1)),
            keys.id(&view("p", "v", 11)),
            keys.id(&view("p", "v1", 1)),
            keys.id(&view("pv", "", 1)),
            Keys::new("pv").id(&view(":p", "v", 1)),
            Keys::new("pv:p").id(&view("", "v", 1)),
        ];
        for (index, id) in ids.iter().enumerate() {
            assert!(!ids[..index].contains(id));
        }
    }

    /// Figures of Redis Cluster's own specification.
    #[test]
    fn slots_are_those_of_redis() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(slot(b"foo"), 12_182);
        assert_eq!(slot(b"{foo}bar"), 12_182);
        assert_eq!(slot(b"x{}foo"), crc16(b"x{}foo") % N_SLOTS);
        for wanted in [0, 1, 5_461, 16_383] {
            assert_eq!(slot(format!("m{{{}}}x", tag_of(wanted)).as_bytes()), wanted);
        }
    }
}
