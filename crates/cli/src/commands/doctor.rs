//! `provender doctor`

use std::io::IsTerminal;

use provender_store::Finding;

use crate::args::OutputFormat;
use crate::errors::{DONE, FAILED, Outcome, colours, render};
use crate::output::{self, Rows};
use crate::session::Session;

/// Checks every store; the exit code tells whether all are well.
///
/// # Errors
/// Only what stdout says: a store that fails is a finding.
pub(crate) async fn run(session: &Session) -> Outcome {
    let findings = match session.project.open(&session.cx).await {
        Ok(store) => store.doctor(&session.cx).await,
        Err(error) => {
            let scheme = &session.project.config.registry.scheme;
            vec![Finding {
                subject: format!("registry ({scheme})"),
                ok: false,
                notes: Vec::new(),
                error: Some(error),
            }]
        }
    };
    if matches!(session.output, None | Some(OutputFormat::Table)) {
        output::text(&text(&findings, session.verbose))?;
    } else {
        let all = || findings.iter();
        let error = |finding: &Finding| finding.error.as_ref().map(ToString::to_string);
        let code = |finding: &Finding| finding.error.as_ref().map(|error| error.code().to_owned());
        let rows = Rows::default()
            .text("subject", all().map(|finding| &finding.subject))
            .bools("ok", all().map(|finding| finding.ok))
            .texts("notes", all().map(|finding| finding.notes.clone()))
            .text_or_null("code", all().map(code))
            .text_or_null("error", all().map(error));
        output::write_rows(session.output, &rows.batch()?)?;
    }
    let well = findings.iter().all(|finding| finding.ok);
    Ok(if well { DONE } else { FAILED })
}

fn text(findings: &[Finding], verbose: bool) -> String {
    let colours = colours(std::io::stdout().is_terminal());
    let (green, red, reset) = if colours {
        ("\u{1b}[32m", "\u{1b}[1;31m", "\u{1b}[0m")
    } else {
        ("", "", "")
    };
    let mut text = String::new();
    for finding in findings {
        let word = if finding.ok {
            format!("{green}ok{reset}    ")
        } else {
            format!("{red}FAILED{reset}")
        };
        text.push_str(&format!("{word}  {}\n", finding.subject));
        for note in &finding.notes {
            text.push_str(&format!("        {note}\n"));
        }
        if let Some(error) = &finding.error {
            let mut lines = String::new();
            render(&mut lines, error, verbose, colours);
            for line in lines.lines() {
                text.push_str(&format!("        {line}\n"));
            }
        }
    }
    text
}
