//! How projects, views and generations become names of folders, and keys become keys of LMDB.
//!
//! Folder names hold only what every file system takes, and differ wherever the names differ.

use sha2::{Digest, Sha256};

/// Names longer than this (encoded) are cut and hashed: file systems take 255 bytes.
const MAX_NAME: usize = 160;
const CUT_NAME: usize = 80;

/// The file in a view's folder that holds its name where the folder's own cannot.
pub(crate) const NAME_FILE: &str = "name";

/// The longest key that is stored as it is. LMDB takes up to 511 bytes.
const MAX_PLAIN_KEY: usize = 432;
const LONG_KEY_PREFIX: usize = 400;
const EMPTY_KEY: [u8; MAX_PLAIN_KEY + 2] = [0; MAX_PLAIN_KEY + 2];

/// A project's folder.
pub(crate) fn project_folder(project: &str) -> String {
    encode(project)
}

/// The folder of a view's version.
pub(crate) fn view_folder(view: &str, version: u32) -> String {
    format!("{}@{version}", encode(view))
}

/// Whether a view's folder does not tell its name, so that it needs a [`NAME_FILE`].
pub(crate) fn needs_name_file(view: &str) -> bool {
    encode(view).contains('~')
}

/// What the name of a view's folder tells.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FolderName {
    /// The view and its version.
    View(String, u32),
    /// The version; the view is in the [`NAME_FILE`].
    Hashed(u32),
    /// Not a view's folder.
    Foreign,
}

/// Reads the name of a view's folder.
pub(crate) fn parse_view_folder(folder: &str) -> FolderName {
    let Some((view, version)) = folder.rsplit_once('@') else {
        return FolderName::Foreign;
    };
    let Some(version) = version
        .parse()
        .ok()
        .filter(|v: &u32| v.to_string() == version)
    else {
        return FolderName::Foreign;
    };
    if view.contains('~') {
        return FolderName::Hashed(version);
    }
    decode(view).map_or(FolderName::Foreign, |view| FolderName::View(view, version))
}

/// The folder of a generation.
pub(crate) fn generation_folder(generation: u32) -> String {
    format!("{generation:04}")
}

/// Reads the name of a generation's folder.
pub(crate) fn parse_generation(folder: &str) -> Option<u32> {
    let generation = folder.parse().ok()?;
    (generation_folder(generation) == folder).then_some(generation)
}

fn encode(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-' {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    if encoded.is_empty() {
        // A lone % stands for no byte, so nothing else is encoded so.
        encoded.push('%');
    }
    if encoded.len() > MAX_NAME {
        let hash = Sha256::digest(name.as_bytes());
        encoded.truncate(CUT_NAME);
        encoded.push('~');
        for byte in &hash[..16] {
            encoded.push_str(&format!("{byte:02x}"));
        }
    }
    encoded
}

fn decode(encoded: &str) -> Option<String> {
    if encoded == "%" {
        return Some(String::new());
    }
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    let name = String::from_utf8(bytes).ok()?;
    // Only what encoding gives back is ours.
    (encode(&name) == encoded).then_some(name)
}

/// Turns a key's bytes, in place, into the key that LMDB holds: 1 to 432 bytes are themselves; longer
/// ones become their first 400 bytes, their SHA-256 and a zero (433 bytes); no bytes, which LMDB does
/// not take, become 434 zeros. The lengths keep the three apart.
pub(crate) fn to_stored_key(key: &mut Vec<u8>) {
    if key.is_empty() {
        key.extend_from_slice(&EMPTY_KEY);
    } else if key.len() > MAX_PLAIN_KEY {
        let hash = Sha256::digest(&key[..]);
        key.truncate(LONG_KEY_PREFIX);
        key.extend_from_slice(&hash);
        key.push(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_names_are_safe_and_read_back() {
        for name in [
            "weather", "", "%", "..", ".", "a/b", "a@2", "a~b", "Ünï", "con:", "a b", "\0", "-x_9",
        ] {
            let folder = view_folder(name, 7);
            assert!(
                folder
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"_-%@".contains(&b)),
                "{folder}"
            );
            assert_eq!(
                parse_view_folder(&folder),
                FolderName::View(name.to_owned(), 7)
            );
        }
    }

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let (a, b) = ("x".repeat(200) + "a", "x".repeat(200) + "b");
        assert!(needs_name_file(&a));
        assert!(view_folder(&a, u32::MAX).len() < 255);
        assert_ne!(view_folder(&a, 1), view_folder(&b, 1));
        assert_eq!(
            parse_view_folder(&view_folder(&a, 3)),
            FolderName::Hashed(3)
        );
        assert!(!needs_name_file("weather"));
    }

    #[test]
    fn foreign_folders_are_not_taken_for_views() {
        for folder in [
            "", "x", "x@", "x@01", "x@-1", "%4@1", "%61@1", "a b@1", ".new-1",
        ] {
            assert_eq!(parse_view_folder(folder), FolderName::Foreign, "{folder}");
        }
        assert_eq!(parse_generation("0012"), Some(12));
        assert_eq!(parse_generation("12"), None);
        assert_eq!(parse_generation("12345"), Some(12345));
    }

    #[test]
    fn stored_keys_of_different_keys_differ() {
        let mut lengths = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        for n in [0, 1, 2, 399, 400, 431, 432, 433, 434, 435, 511, 512, 5000] {
            for fill in [0_u8, 1] {
                if n == 0 && fill == 1 {
                    continue;
                }
                let mut key = vec![fill; n];
                to_stored_key(&mut key);
                lengths.push(key.len());
                assert!(seen.insert(key), "{n}");
            }
        }
        assert!(lengths.iter().all(|n| (1..=511).contains(n)), "{lengths:?}");
    }
}
