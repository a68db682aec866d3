//! Plug-ins from outside: named in a project, judged, and a hostile one served among others.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_flight::Ticket;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::flight_service_client::FlightServiceClient;
use futures::TryStreamExt;
use tonic::Request;
use tonic::transport::Channel;

use crate::product::{binary, provender, repository};

/// A folder that only its owner writes, with the hostile library built from `defines` in it.
fn built(folder: &Path, defines: &[&str]) -> PathBuf {
    let library = folder.join("libprovender_hostile.so");
    let compiled = Command::new("cc")
        .args([
            "-std=c11", "-Wall", "-Wextra", "-fPIC", "-shared", "-pthread", "-I",
        ])
        .arg(repository().join("crates/plugin/include"))
        .args(defines.iter().map(|define| format!("-D{define}")))
        .arg(repository().join("tests/plugins/hostile.c"))
        .arg("-o")
        .arg(&library)
        .output()
        .expect("a C compiler is needed, as for building");
    assert!(compiled.status.success(), "{}", text(&compiled.stderr));
    private(&library);
    library
}

fn private(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn run(folder: &Path, args: &[&str], variables: &[(&str, &Path)]) -> (Option<i32>, String, String) {
    let mut command = Command::new(binary());
    command
        .arg("-C")
        .arg(folder)
        .args(args)
        .env_remove("PROVENDER_PLUGIN_PATH");
    let output: Output = command.envs(variables.iter().copied()).output().unwrap();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

const DEFINITIONS: &str = "
entities: [{name: customer, join_keys: [{name: customer, type: string}]}]
sources: [{name: rows, table: rows, timestamp: at}]
feature_views:
  - {name: good, entities: [customer], source: rows, features: [{name: value, type: float64}]}
  - {name: bad, entities: [customer], source: rows, online_store: other,
     features: [{name: value, type: float64}]}
feature_services:
  - {name: good_ones, features: [good]}
  - {name: bad_ones, features: [bad]}
";

/// A project with one view in the embedded store and one in the hostile one.
fn project(folder: &Path, plugins: &str) {
    fs::create_dir(folder.join("features")).unwrap();
    fs::write(folder.join("features/all.yaml"), DEFINITIONS).unwrap();
    let config = format!(
        "project: shop\n{plugins}online_stores:\n  other: {{type: hostile, orders: {}}}\nlimits: {{threads: 2}}\n",
        folder.join("orders").display()
    );
    fs::write(folder.join("provender.yaml"), config).unwrap();
    let rows = folder.join("rows.csv");
    fs::write(
        &rows,
        "customer,at,value\na,2020-01-01T00:00:00Z,2.5\nb,2020-01-02T00:00:00Z,3.5\n",
    )
    .unwrap();
    order(folder, "well");
    provender(folder, ["import", "rows", rows.to_str().unwrap()]);
}

/// What the hostile store does with reads from now on. Written whole, since it is read meanwhile.
fn order(folder: &Path, word: &str) {
    let written = folder.join("orders.new");
    fs::write(&written, word).unwrap();
    fs::rename(written, folder.join("orders")).unwrap();
}

#[test]
fn libraries_that_misbehave_when_they_are_loaded_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        (
            "INIT_OTHER_VERSION",
            "speaks version 7 of the plug-in interface, and this program version 0",
        ),
        (
            "INIT_SAYS_OTHER_VERSION",
            "speaks version 9 of the plug-in interface, and this program version 0",
        ),
        ("INIT_FAILS", "failed to start"),
        ("INIT_NONSENSE", "does not keep to the plug-in interface"),
    ];
    for (define, message) in cases {
        let library = built(folder.path(), &[define]);
        let (code, stdout, stderr) = run(
            folder.path(),
            &["plugin", "check", library.to_str().unwrap()],
            &[],
        );
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{define}: {stderr}");
        assert!(
            stderr.contains("error[P804]: the plug-in "),
            "{define}: {stderr}"
        );
        assert!(
            stderr.contains("libprovender_hostile.so"),
            "{define}: {stderr}"
        );
        assert!(stderr.contains(message), "{define}: {stderr}");
    }
}

#[test]
fn plugins_are_listed_checked_and_told_by_doctor() {
    let folder = tempfile::tempdir().unwrap();
    let library = built(folder.path(), &[]);
    let (path, at) = (library.to_str().unwrap(), folder.path());
    // Without a project.
    let (code, stdout, _) = run(at, &["plugin", "list", "--output", "json"], &[]);
    assert_eq!((code, stdout.trim()), (Some(0), "[]"));
    for place in [at, library.as_path()] {
        let (code, stdout, stderr) = run(
            at,
            &["plugin", "list", "--output", "csv"],
            &[("PROVENDER_PLUGIN_PATH", place)],
        );
        assert_eq!(code, Some(0), "{stderr}");
        assert!(stdout.contains("hostile,0.3,hostile,"), "{stdout}");
        assert!(stdout.contains("PROVENDER_PLUGIN_PATH"), "{stdout}");
    }
    let (code, stdout, stderr) = run(at, &["plugin", "check", path, "--first"], &[]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    for told in [
        "plug-in hostile 0.3",
        "sha256     ",
        "type       hostile: online_store",
        "orders: string",
    ] {
        assert!(stdout.contains(told), "no {told:?} in {stdout}");
    }
    let options = r#"{"order": "x"}"#;
    let (code, stdout, _) = run(
        at,
        &["plugin", "check", path, "--first", "--options", options],
        &[],
    );
    assert_eq!(code, Some(1), "{stdout}");
    assert!(
        stdout.contains("online_store (type hostile) has the unknown option \"order\""),
        "{stdout}"
    );
    assert!(stdout.contains("did you mean \"orders\"?"), "{stdout}");
    let (code, _, stderr) = run(at, &["plugin", "check", path, "--options", "[1]"], &[]);
    assert_eq!(code, Some(2), "{stderr}");
    // It answers 1.5 whatever was written, which the rules notice.
    let (code, stdout, stderr) = run(
        at,
        &["plugin", "check", path, "--rule", "event_times_decide"],
        &[],
    );
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stdout.contains("BROKEN     event_times_decide"), "{stdout}");
    assert!(stdout.contains("FAILS: "), "{stdout}");

    // In a project: by path, pinned, and found.
    let sha256 = stdout
        .split("sha256     ")
        .nth(1)
        .unwrap()
        .lines()
        .next()
        .unwrap();
    project(
        at,
        &format!("plugins: [{{path: libprovender_hostile.so, sha256: {sha256}}}]\n"),
    );
    provender(at, ["apply", "--yes"]);
    let (code, stdout, stderr) = run(at, &["doctor"], &[]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    for told in [
        "plug-in hostile",
        "version 0.3, interface version 0, ",
        "(named in plugins, sha256 pinned)",
        "type hostile: online_store (Breaks its promises)",
        "online_stores.other (hostile)",
        "declares no capability",
        "capabilities: ",
    ] {
        assert!(stdout.contains(told), "no {told:?} in {stdout}");
    }
    let config = fs::read_to_string(at.join("provender.yaml")).unwrap();
    let unnamed = config.replace(config.lines().nth(1).unwrap(), "");
    fs::write(at.join("provender.yaml"), &unnamed).unwrap();
    let (code, _, _) = run(at, &["doctor"], &[]);
    assert_eq!(code, Some(1));
    let (code, stdout, _) = run(at, &["doctor"], &[("PROVENDER_PLUGIN_PATH", at)]);
    assert_eq!(code, Some(0), "{stdout}");
    let pinned = config.replace(sha256, &"0".repeat(64));
    fs::write(at.join("provender.yaml"), pinned).unwrap();
    let (code, _, stderr) = run(at, &["status"], &[]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("is pinned"), "{stderr}");
    let slip = unnamed.replace("orders:", "ordres:");
    fs::write(at.join("provender.yaml"), slip).unwrap();
    let (_, stdout, _) = run(at, &["doctor"], &[("PROVENDER_PLUGIN_PATH", at)]);
    let message = "online_stores.other (type hostile) has the unknown option \"ordres\"";
    assert!(stdout.contains(message), "{stdout}");
}

#[test]
fn type_that_is_built_in_or_declared_twice_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let library = built(folder.path(), &["INIT_TAKEN"]);
    let taken = folder.path().join("taken.so");
    fs::rename(&library, &taken).unwrap();
    let library = built(folder.path(), &[]);
    let copy = folder.path().join("copy.so");
    fs::copy(&library, &copy).unwrap();
    project(folder.path(), "plugins: [libprovender_hostile.so]\n");
    let path = folder.path().join("provender.yaml");
    let config = fs::read_to_string(&path).unwrap();
    let naming = |libraries: &str| {
        let config = config.replace("[libprovender_hostile.so]", libraries);
        fs::write(&path, config).unwrap();
    };
    naming("[taken.so]");
    let (code, _, stderr) = run(folder.path(), &["status"], &[]);
    assert_eq!(code, Some(1));
    assert!(
        stderr.contains("declares the type \"delta\", which is built in"),
        "{stderr}"
    );
    naming("[libprovender_hostile.so, copy.so]");
    let (code, _, stderr) = run(folder.path(), &["status"], &[]);
    assert_eq!(code, Some(1));
    assert!(
        stderr.contains("copy.so declares the type \"hostile\", which the plug-in"),
        "{stderr}"
    );
}

/// A server of the project; killed when it is dropped.
struct Served {
    process: Child,
    address: String,
    metrics: String,
    /// Keeps stderr from filling up.
    log: std::thread::JoinHandle<String>,
}

impl Served {
    fn of(folder: &Path) -> Self {
        let mut process = Command::new(binary())
            .arg("-C")
            .arg(folder)
            .args([
                "serve",
                "--flight",
                "127.0.0.1:0",
                "--metrics",
                "127.0.0.1:0",
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap());
        let mut address = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut address)
            .unwrap();
        let address = address.trim().replace("grpc://", "http://");
        assert!(address.starts_with("http://"), "the server did not start");
        let mut metrics = String::new();
        while !metrics.starts_with("metrics on http://") {
            metrics.clear();
            assert!(
                lines.read_line(&mut metrics).unwrap() > 0,
                "no address of metrics"
            );
        }
        let metrics = metrics
            .trim_start_matches("metrics on http://")
            .replace("/metrics", "");
        let log = std::thread::spawn(move || {
            let mut rest = String::new();
            let _ = lines.read_to_string(&mut rest);
            rest
        });
        Self {
            process,
            address,
            metrics: metrics.trim().to_owned(),
            log,
        }
    }

    /// The sample of a metric whose line starts so.
    fn metric(&self, start: &str) -> Option<f64> {
        let mut stream = TcpStream::connect(&self.metrics).unwrap();
        write!(
            stream,
            "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        )
        .unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        let line = page.lines().find(|line| line.starts_with(start))?;
        line.rsplit(' ').next()?.parse().ok()
    }
}

/// The value of a service for a key, or the message of the error.
async fn read(
    client: &mut FlightServiceClient<Channel>,
    service: &str,
    deadline: Duration,
) -> Result<f64, String> {
    let ticket =
        format!(r#"{{"op":"online","service":"{service}","entities":{{"customer":["a"]}}}}"#);
    let mut request = Request::new(Ticket::new(ticket));
    request.set_timeout(deadline);
    let messages = client
        .do_get(request)
        .await
        .map_err(|status| status.message().to_owned())?;
    let messages = messages.into_inner().map_err(Into::into);
    let batches: Vec<_> = FlightRecordBatchStream::new_from_flight_data(messages)
        .try_collect()
        .await
        .map_err(|error| error.to_string())?;
    let batch = batches.into_iter().find(|batch| batch.num_rows() > 0);
    let batch = batch.ok_or("no rows")?;
    let column = batch.column(batch.num_columns() - 1);
    Ok(column.as_primitive::<Float64Type>().value(0))
}

const SOON: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(60);

/// `n` reads of the good service, one after the other, each of which must work. Answers their times.
async fn good_reads(mut client: FlightServiceClient<Channel>, n: usize) -> Vec<Duration> {
    let mut times = Vec::with_capacity(n);
    for _ in 0..n {
        let start = Instant::now();
        assert_eq!(read(&mut client, "good_ones", LONG).await, Ok(2.5));
        times.push(start.elapsed());
    }
    times.sort_unstable();
    times
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_answers_others_whatever_a_hostile_plugin_does_and_stops_cleanly() {
    let folder = tempfile::tempdir().unwrap();
    built(folder.path(), &[]);
    project(folder.path(), "plugins: [libprovender_hostile.so]\n");
    provender(folder.path(), ["apply", "--yes"]);
    provender(
        folder.path(),
        ["materialize-incremental", "--end", "2020-02-01"],
    );
    let mut served = Served::of(folder.path());
    let channel = Channel::from_shared(served.address.clone())
        .unwrap()
        .connect()
        .await
        .unwrap();
    let client = FlightServiceClient::new(channel);
    assert_eq!(read(&mut client.clone(), "bad_ones", LONG).await, Ok(1.5));
    let alone = good_reads(client.clone(), 200).await;

    // Every way to break a promise, and what a caller then hears.
    let cases = [
        ("thread", Ok(1.5)),
        ("twice", Ok(1.5)),
        ("text", Err("its error cannot be read: no")),
        ("rows", Err("4 online rows for 1 keys")),
        ("never", Err("")),
        ("hang", Err("")),
    ];
    for (word, expected) in cases {
        order(folder.path(), word);
        let others = tokio::spawn(good_reads(client.clone(), 200));
        // More at once than the program has threads for, of which none may come back.
        let calls = (0..100).map(|_| {
            let mut client = client.clone();
            async move { read(&mut client, "bad_ones", SOON).await }
        });
        for answer in futures::future::join_all(calls).await {
            match (&answer, expected) {
                (Ok(value), Ok(expected)) => assert_eq!(*value, expected, "{word}"),
                (Err(message), Err(expected)) => {
                    assert!(message.contains(expected), "{word}: {message}");
                    let is_named = message.contains("plug-in hostile");
                    // A client's own clock may be first to end a call.
                    let is_late = message.contains("Timeout") || message.contains("deadline");
                    assert!(is_named || is_late, "{word}: {message}");
                }
                _ => panic!("{word}: {answer:?}"),
            }
        }
        let others = others.await.unwrap();
        let p99 = |times: &[Duration]| times[times.len() * 99 / 100];
        println!(
            "{word}: p99 of others {:?}, alone {:?}",
            p99(&others),
            p99(&alone)
        );
    }
    // With calls inside of the library that never come back, everything else goes on.
    good_reads(client.clone(), 200).await;
    for code in ["P802", "P905"] {
        let start = format!("provender_store_errors_total{{store=\"hostile\",code=\"{code}\"}}");
        let counted = served.metric(&start);
        assert!(counted.is_some_and(|n| n >= 1.0), "{start}: {counted:?}");
    }
    let pid = served.process.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    let stopped = tokio::task::spawn_blocking(move || {
        let start = Instant::now();
        loop {
            if let Some(status) = served.process.try_wait().unwrap() {
                return (Some(status), served.log.join().unwrap_or_default());
            }
            if start.elapsed() > LONG {
                let _ = served.process.kill();
                let _ = served.process.wait();
                return (None, served.log.join().unwrap_or_default());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let (status, log) = stopped.await.unwrap();
    assert_eq!(status.and_then(|status| status.code()), Some(0), "{log}");
}
