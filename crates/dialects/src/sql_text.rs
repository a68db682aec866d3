//! SQL that users write: queries and filters, which are put into parentheses as they are.
//!
//! Decides whether such a text stays inside of its parentheses: it ends outside of every quote and
//! comment, closes what it opens and nothing more, and holds no second statement. It deliberately does
//! not know whether the text is right; the warehouse says that.

use provender_core::error::{Error, Result, codes};

use crate::Dialect;

/// The text, to be put into parentheses on lines of its own.
///
/// # Errors
/// `InvalidArgument` (`P123`) for a text that would not stay inside of them.
pub(crate) fn embed(dialect: Dialect, what: &str, text: &str) -> Result<String> {
    match check(dialect, text) {
        Ok(()) => Ok(format!("(\n{text}\n)")),
        Err(why) => Err(
            Error::new(&codes::BAD_QUERY, format!("the {what} {why}")).help(format!(
                "a {what} is one piece of SQL with balanced parentheses and quotes, without a semicolon"
            )),
        ),
    }
}

fn check(dialect: Dialect, text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err("is empty".to_owned());
    }
    if text.contains('\0') {
        return Err("holds a NUL character".to_owned());
    }
    let letters: Vec<char> = text.chars().collect();
    let mut open: Vec<char> = Vec::new();
    let mut at = 0;
    while at < letters.len() {
        let letter = letters[at];
        let next = letters.get(at + 1).copied();
        at = match (letter, next) {
            ('-', Some('-')) => line_comment(&letters, at)?,
            ('/', Some('/')) if dialect == Dialect::Snowflake => line_comment(&letters, at)?,
            ('/', Some('*')) => block_comment(&letters, at)?,
            // A dollar sign within a name is a letter of it and quotes nothing, and what is a name's letter is
            // for the warehouse to say.
            ('$', Some('$'))
                if dialect == Dialect::Snowflake && at > 0 && is_word(letters[at - 1]) =>
            {
                return Err(
                    "has a $$ directly behind a name or number; put a space before it".to_owned(),
                );
            }
            ('$', Some('$')) if dialect == Dialect::Snowflake => dollars(&letters, at)?,
            ('\'', _) => quoted(&letters, at, !is_raw(dialect, &letters, at))?,
            ('"', _) if dialect == Dialect::Spark => {
                let end = quoted(&letters, at, !is_raw(dialect, &letters, at))?;
                // A setting turns these from strings into names, which know no backslash.
                if letters[at..end].contains(&'\\') {
                    return Err(
                        "holds a backslash inside of double quotes, whose meaning depends \
                         on the session; use single quotes"
                            .to_owned(),
                    );
                }
                end
            }
            ('`', _) if dialect == Dialect::Snowflake => {
                return Err(
                    "holds a backtick, which Snowflake does not know; names stand in double quotes"
                        .to_owned(),
                );
            }
            ('"' | '`', _) => quoted(&letters, at, false)?,
            (';', _) => return Err("holds a semicolon".to_owned()),
            ('(' | '[' | '{', _) => {
                open.push(letter);
                at + 1
            }
            (')' | ']' | '}', _) => {
                let opening = match letter {
                    ')' => '(',
                    ']' => '[',
                    _ => '{',
                };
                if open.pop() != Some(opening) {
                    return Err(format!("closes a {letter:?} that it did not open"));
                }
                at + 1
            }
            _ => at + 1,
        };
    }
    match open.pop() {
        Some(letter) => Err(format!("does not close a {letter:?}")),
        None => Ok(()),
    }
}

/// Spark's `r'...'`, in which a backslash is a letter.
fn is_raw(dialect: Dialect, letters: &[char], at: usize) -> bool {
    dialect == Dialect::Spark
        && at > 0
        && matches!(letters[at - 1], 'r' | 'R')
        && (at == 1 || !is_word(letters[at - 2]))
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

fn quoted(letters: &[char], start: usize, has_escapes: bool) -> Result<usize, String> {
    let quote = letters[start];
    let mut at = start + 1;
    while at < letters.len() {
        match letters[at] {
            '\\' if has_escapes => at += 2,
            letter if letter == quote => return Ok(at + 1),
            _ => at += 1,
        }
    }
    Err(format!("has a {quote} without an end"))
}

fn line_comment(letters: &[char], start: usize) -> Result<usize, String> {
    let mut at = start;
    while at < letters.len() && letters[at] != '\n' {
        // Whether these end a line is for each warehouse to say.
        let is_return = letters[at] == '\r' && letters.get(at + 1) != Some(&'\n');
        if is_return
            || matches!(
                letters[at],
                '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}'
            )
        {
            return Err("has a line comment with an unusual line end in it".to_owned());
        }
        at += 1;
    }
    Ok(at)
}

fn block_comment(letters: &[char], start: usize) -> Result<usize, String> {
    let mut at = start + 2;
    while at < letters.len() {
        match (letters[at], letters.get(at + 1)) {
            ('*', Some('/')) => return Ok(at + 2),
            // Some warehouses count these and some do not.
            ('/', Some('*')) => {
                return Err("has a comment inside of a comment".to_owned());
            }
            _ => at += 1,
        }
    }
    Err("has a comment without an end".to_owned())
}

fn dollars(letters: &[char], start: usize) -> Result<usize, String> {
    let mut at = start + 2;
    while at + 1 < letters.len() {
        if letters[at] == '$' && letters[at + 1] == '$' {
            return Ok(at + 2);
        }
        at += 1;
    }
    Err("has a $$ without an end".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [Dialect; 2] = [Dialect::Snowflake, Dialect::Spark];

    #[test]
    fn text_that_stays_inside_is_taken() {
        for text in [
            "SELECT * FROM t",
            "a > 1 -- only the new; ones)",
            "a = ')' AND b = 'it''s;' AND c = '\\''",
            "f((1), [2]) /* ) ; */",
            "a\r\n-- b\r\n= 1",
        ] {
            for dialect in BOTH {
                assert_eq!(check(dialect, text), Ok(()), "{text}");
            }
        }
        assert_eq!(check(Dialect::Snowflake, "x = $$ ; ) $$ // ;"), Ok(()));
        assert_eq!(check(Dialect::Spark, "SELECT `a)` FROM t"), Ok(()));
        assert!(check(Dialect::Snowflake, "SELECT `a` FROM t").is_err());
        assert_eq!(check(Dialect::Spark, "x = r'\\' AND y = \";\""), Ok(()));
    }

    #[test]
    fn text_that_reaches_outside_is_refused() {
        for (text, why) in [
            ("", "is empty"),
            ("1 = 1) OR (1 = 1", "closes a ')' that it did not open"),
            ("(1 = 1", "does not close a '('"),
            ("(1]", "closes a ']' that it did not open"),
            ("1; DROP TABLE t", "holds a semicolon"),
            ("a = 'b", "has a ' without an end"),
            ("a = '\\'", "has a ' without an end"),
            ("a /* b", "has a comment without an end"),
            (
                "a -- b\r; c",
                "has a line comment with an unusual line end in it",
            ),
            ("a\0", "holds a NUL character"),
        ] {
            for dialect in BOTH {
                assert_eq!(check(dialect, text), Err(why.to_owned()), "{text}");
            }
        }
        assert!(check(Dialect::Snowflake, "$$ a").is_err());
        // It may be part of a name, so that the semicolon is none of a text.
        assert!(check(Dialect::Snowflake, "a$$ ; $$1").is_err());
        assert!(check(Dialect::Snowflake, "1$$'$$ ; '").is_err());
        assert!(check(Dialect::Snowflake, "日本$$ a $$").is_err());
        assert!(check(Dialect::Spark, "a /* /* */").is_err());
        assert!(check(Dialect::Spark, "\"\\\"").is_err());
        let error = embed(Dialect::Spark, "filter", "a;");
        assert_eq!(
            error.err().map(|error| error.to_string()).as_deref(),
            Some(
                "the filter holds a semicolon; a filter is one piece of SQL with balanced \
                 parentheses and quotes, without a semicolon"
            )
        );
    }
}
