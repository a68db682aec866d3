//! `provender explain`

use provender_core::codes;
use provender_core::names::did_you_mean;

use crate::args::{ExplainArgs, Global, OutputFormat};
use crate::errors::{DONE, Outcome, usage};
use crate::output::{self, Rows};

/// How wide explanations are set.
const WIDTH: usize = 80;

/// Explains a code, or lists all.
///
/// # Errors
/// Wrong usage for a code that does not exist.
pub(crate) fn run(global: &Global, args: &ExplainArgs) -> Outcome {
    let table = matches!(global.output, None | Some(OutputFormat::Table));
    let chosen: Vec<&codes::Code> = match &args.code {
        None => codes::ALL.to_vec(),
        Some(id) => vec![codes::find(id).ok_or_else(|| {
            let near = did_you_mean(id, codes::ALL.iter().map(|code| code.id));
            usage(
                format!("there is no error code {id:?}"),
                format!("{near} `provender explain` lists all codes")
                    .trim()
                    .to_owned(),
            )
        })?],
    };
    if table && args.code.is_some() {
        for code in &chosen {
            output::text(&format!(
                "{}: {}\n\n{}",
                code.id,
                code.title,
                wrap(code.explanation)
            ))?;
        }
        return Ok(DONE);
    }
    let mut rows = Rows::default()
        .text("code", chosen.iter().map(|code| code.id))
        .text("title", chosen.iter().map(|code| code.title));
    if !table {
        rows = rows.text("explanation", chosen.iter().map(|code| code.explanation));
    }
    output::write_rows(global.output, &rows.batch()?)?;
    Ok(DONE)
}

fn wrap(text: &str) -> String {
    let mut wrapped = String::new();
    let mut width = 0;
    for word in text.split_whitespace() {
        if width > 0 && width + 1 + word.len() > WIDTH {
            wrapped.push('\n');
            width = 0;
        } else if width > 0 {
            wrapped.push(' ');
            width += 1;
        }
        wrapped.push_str(word);
        width += word.len();
    }
    wrapped.push('\n');
    wrapped
}
