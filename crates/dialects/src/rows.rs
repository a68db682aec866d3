//! How rows travel to a warehouse beside a statement: as one JSON text, an array of arrays of texts.
//!
//! Decides how values are spelled so that no digit is lost, and where a text is cut. No value is ever
//! part of a statement, and a warehouse plans one short statement however many rows there are. What a
//! statement makes of each text is the caller's.

use std::fmt::Write;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;

use crate::SpineLayout;

/// Rows as JSON, cut into texts of about a given size.
#[derive(Debug)]
pub struct RowTexts {
    text: String,
    n_rows: u64,
    max_bytes: usize,
}

impl RowTexts {
    /// No rows; texts are cut once they have so many bytes.
    pub fn new(max_bytes: usize) -> Self {
        Self {
            text: String::new(),
            n_rows: 0,
            max_bytes: max_bytes.max(1),
        }
    }

    /// Adds one row; `None` is null.
    pub fn push(&mut self, cells: impl IntoIterator<Item = Option<String>>) {
        self.text
            .push_str(if self.n_rows == 0 { "[[" } else { ",[" });
        for (at, cell) in cells.into_iter().enumerate() {
            if at > 0 {
                self.text.push(',');
            }
            match cell {
                None => self.text.push_str("null"),
                Some(text) => push_quoted(&mut self.text, &text),
            }
        }
        self.text.push(']');
        self.n_rows += 1;
    }

    /// Whether it is time to send what there is.
    pub fn is_full(&self) -> bool {
        self.text.len() >= self.max_bytes
    }

    /// What there is, if anything.
    pub fn take(&mut self) -> Option<String> {
        if self.n_rows == 0 {
            return None;
        }
        self.n_rows = 0;
        let mut text = std::mem::take(&mut self.text);
        text.push(']');
        Some(text)
    }
}

/// A decimal's digits, exactly.
pub fn decimal_text(unscaled: i128, scale: i8) -> String {
    let scale = usize::try_from(scale).unwrap_or_default();
    if scale == 0 {
        return unscaled.to_string();
    }
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if unscaled < 0 { "-" } else { "" };
    format!("{sign}{whole}.{fraction}")
}

/// The shortest text that reads back as the same number; `NaN`, `inf` and `-inf` for what has no digits.
pub fn float_text(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "inf" } else { "-inf" }.to_owned()
    } else {
        format!("{value:e}")
    }
}

/// Two upper-case digits for each byte.
pub fn hex_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02X}");
    }
    text
}

/// The least and the greatest time of a spine that is seen batch by batch, by which source rows that
/// no spine row sees are left out.
#[derive(Debug, Default)]
pub struct TimeRange(Option<(i64, i64)>);

impl TimeRange {
    /// Takes in rows as [`SpineLayout::encode`] makes them.
    pub fn add(&mut self, batch: &RecordBatch) {
        let times = batch.column_by_name("t");
        let times = times.and_then(|times| times.as_primitive_opt::<Int64Type>());
        for us in times.into_iter().flat_map(|times| times.iter().flatten()) {
            let (least, greatest) = self.0.unwrap_or((us, us));
            self.0 = Some((least.min(us), greatest.max(us)));
        }
    }

    /// The layout, knowing the range.
    pub fn bound(self, layout: SpineLayout) -> SpineLayout {
        match self.0 {
            Some((least, greatest)) => layout.within(least, greatest),
            None => layout,
        }
    }
}

fn push_quoted(text: &mut String, value: &str) {
    text.push('"');
    for letter in value.chars() {
        match letter {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            control if control < ' ' => {
                // Writing to a String cannot fail.
                let _ = write!(text, "\\u{:04x}", u32::from(control));
            }
            other => text.push(other),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_json_whatever_is_in_them() {
        let mut texts = RowTexts::new(10);
        texts.push([Some("a\"\\\u{1}\n\u{7f}é".to_owned()), None]);
        assert!(texts.is_full());
        texts.push([Some(String::new()), Some("1".to_owned())]);
        assert_eq!(
            texts.take().as_deref(),
            Some("[[\"a\\\"\\\\\\u0001\\u000a\u{7f}é\",null],[\"\",\"1\"]]")
        );
        assert_eq!(texts.take(), None);
        assert!(!texts.is_full());
    }

    #[test]
    fn numbers_keep_their_digits() {
        assert_eq!(decimal_text(-5, 2), "-0.05");
        assert_eq!(
            decimal_text(i128::from(i64::MIN), 0),
            "-9223372036854775808"
        );
        assert_eq!(float_text(1e-7), "1e-7");
        assert_eq!(float_text(-0.0), "-0e0");
        assert_eq!(float_text(f64::NEG_INFINITY), "-inf");
        assert_eq!(hex_text(&[0, 255]), "00FF");
    }
}
