//! Tables in Azure's blob storage, here an emulator: `PROVENDER_AZURITE` names `azurite-blob` of the npm
//! package azurite. Without it the test says that it was skipped.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use provender_core::request::SourceRef;
use serde_json::json;

use crate::cloud::tables_are_made_read_and_looked_after;
use crate::s3::{open_options, python_with};
use crate::support::*;

/// The account and key that every emulator has.
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

const MAKE_CONTAINER: &str = "
import base64, email.utils, hashlib, hmac, sys, urllib.request
endpoint, account, key = sys.argv[1:]
date = email.utils.formatdate(usegmt=True)
headers = f'x-ms-date:{date}\\nx-ms-version:2021-08-06\\n'
text = 'PUT' + '\\n' * 12 + headers + f'/{account}/{account}/box\\nrestype:container'
signature = base64.b64encode(hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()).decode()
request = urllib.request.Request(f'{endpoint}/box?restype=container', data=b'', method='PUT', headers={
    'x-ms-date': date, 'x-ms-version': '2021-08-06', 'Content-Length': '0', 'Content-Type': '',
    'Authorization': f'SharedKey {account}:{signature}'})
urllib.request.urlopen(request).read()
";

/// A running emulator.
struct Azurite(Child);

impl Drop for Azurite {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_in_azure_are_made_read_and_looked_after() {
    let Some(program) = std::env::var_os("PROVENDER_AZURITE") else {
        let reason = "skipped: PROVENDER_AZURITE does not name azurite-blob";
        assert!(std::env::var_os("CI").is_none(), "{reason}");
        println!("{reason}");
        return;
    };
    let Some(python) = python_with("hmac") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(program)
        .args([
            "--blobHost",
            "127.0.0.1",
            "--blobPort",
            "0",
            "--skipApiVersionCheck",
            "--disableTelemetry",
            "--location",
        ])
        .arg(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    let _azurite = Azurite(child);
    let endpoint = loop {
        let line = output.next().unwrap().unwrap();
        if let Some((_, url)) = line
            .split_once("listens on ")
            .or(line.split_once("listening at "))
            && url.contains("http://")
        {
            break format!("{}/{ACCOUNT}", url.trim());
        }
    };
    // What else it says must be read, or it waits.
    std::thread::spawn(move || output.for_each(drop));
    let made = Command::new(python)
        .args(["-c", MAKE_CONTAINER, &endpoint, ACCOUNT, KEY])
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );

    let options = |key: &str| {
        json!({
            "location": "az://box/features",
            "storage": {
                "endpoint": endpoint, "allow_http": true, "account_name": ACCOUNT, "account_key": key,
            }
        })
    };
    let store = open_options(Path::new("/nowhere"), options(KEY))
        .await
        .unwrap();
    tables_are_made_read_and_looked_after(store, "az://box/features").await;

    let wrong = options("Y2FuYXJ5LWNhbmFyeS1jYW5hcnk=");
    let store = open_options(Path::new("/nowhere"), wrong).await.unwrap();
    let error = failure(&*store, all(SourceRef::table("weather"))).await;
    assert_eq!(error.code(), "P513", "{error}");
    assert!(!format!("{error:?}").contains("Y2FuYXJ5"), "{error:?}");
}
