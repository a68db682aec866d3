//! `provender doctor`

use std::io::IsTerminal;

use provender_core::Error;
use provender_store::Finding;

use crate::args::OutputFormat;
use crate::errors::{DONE, FAILED, Outcome, colours, render};
use crate::output::{self, Rows};
use crate::providers::Plugin;
use crate::session::Session;

/// Checks every store; the exit code tells whether all are well.
///
/// # Errors
/// Only what stdout says: a store that fails is a finding.
pub(crate) async fn run(session: &Session) -> Outcome {
    let plugins = match session.project.known() {
        Ok(known) => known.plugins.as_slice(),
        Err(error) => return show(session, &[failed("plug-ins".to_owned(), error)]),
    };
    let findings = match session.project.open(&session.cx).await {
        Ok(store) => store.doctor(&session.cx).await,
        Err(error) => {
            let scheme = &session.project.config.registry.scheme;
            vec![failed(format!("registry ({scheme})"), error)]
        }
    };
    // After the stores, whose checks may have shown how a plug-in behaves.
    let mut all: Vec<Finding> = plugins.iter().map(about).collect();
    all.extend(findings);
    show(session, &all)
}

fn failed(subject: String, error: Error) -> Finding {
    Finding {
        subject,
        ok: false,
        notes: Vec::new(),
        error: Some(error),
    }
}

/// What is known of a plug-in. Capabilities are those of its stores, told there.
fn about(plugin: &Plugin) -> Finding {
    let loaded = plugin.loaded;
    let manifest = loaded.manifest();
    let pinned = if plugin.is_pinned {
        ", sha256 pinned"
    } else {
        ""
    };
    let mut notes = vec![format!(
        "version {}, interface version {}, {} (named in {}{pinned})",
        manifest.version,
        provender_plugin::abi::ABI_VERSION,
        loaded.origin(),
        plugin.named_in
    )];
    for provider in &manifest.providers {
        let roles: Vec<&str> = provider.roles.iter().map(|role| role.name()).collect();
        notes.push(format!(
            "type {}: {} ({})",
            provider.scheme,
            roles.join(", "),
            provider.description
        ));
    }
    if loaded.n_misused() > 0 {
        notes.push(format!(
            "completed {} calls that were over; a defect for its vendor",
            loaded.n_misused()
        ));
    }
    Finding {
        subject: format!("plug-in {}", manifest.name),
        ok: !loaded.is_poisoned(),
        notes,
        error: loaded.is_poisoned().then(|| loaded.poisoned_error()),
    }
}

fn show(session: &Session, findings: &[Finding]) -> Outcome {
    if matches!(session.output, None | Some(OutputFormat::Table)) {
        output::text(&text(findings, session.verbose))?;
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
