//! Sizes of memory and files as text: `512MiB`.

const UNITS: [(&str, u64); 10] = [
    ("", 1),
    ("B", 1),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// Reads a whole number of bytes, with or without a unit, as bytes; at least one.
///
/// # Errors
/// Why the text is no size, as a part of a sentence.
pub fn parse_size(text: &str) -> Result<u64, &'static str> {
    let text = text.trim();
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    if number.is_empty() {
        return Err("it does not start with a whole number");
    }
    let number: u64 = number.parse().map_err(|_| "it is too large")?;
    let unit = unit.trim();
    let (_, factor) = UNITS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit))
        .ok_or("its unit is unknown")?;
    if number == 0 {
        return Err("it must be greater than zero");
    }
    number.checked_mul(*factor).ok_or("it is too large")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bytes_with_or_without_unit() {
        for (text, bytes) in [
            ("1024", Ok(1_024)),
            ("512MiB", Ok(512 << 20)),
            ("2 GB", Ok(2_000_000_000)),
            ("2gib", Ok(2 << 30)),
            ("1B", Ok(1)),
            ("0", Err("it must be greater than zero")),
            ("", Err("it does not start with a whole number")),
            ("-1", Err("it does not start with a whole number")),
            ("1.5GiB", Err("its unit is unknown")),
            ("3 apples", Err("its unit is unknown")),
            ("99999999999TiB", Err("it is too large")),
            ("99999999999999999999", Err("it is too large")),
        ] {
            assert_eq!(parse_size(text), bytes, "{text}");
        }
    }
}
