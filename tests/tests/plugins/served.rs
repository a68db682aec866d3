//! Both examples in one project: tables of the plug-in in C, materialised into the one in Rust, and served.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_flight::Ticket;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::flight_service_client::FlightServiceClient;
use futures::TryStreamExt;
use tonic::Request;
use tonic::transport::Channel;

use crate::libraries::{built, compiled_csvdir};
use crate::product::{binary, provender};

const FEATURES: &str = "
entities: [{name: airport, join_keys: [{name: airport, type: string}]}]
sources: [{name: weather, table: weather, timestamp: at}]
feature_views:
  - {name: weather, entities: [airport], source: weather, features:
     [{name: temp, type: float64}, {name: gusts, type: int64}]}
feature_services: [{name: outlook, features: [weather]}]
";

const WEATHER: &str = "airport:string,at:timestamp,temp:float64,gusts:int64
JFK,1000000,21.5,7
JFK,3000000,-0.5,9
Zürich,2000000,-3.25,
";

/// A project whose offline store is the plug-in in C and whose online store the one in Rust.
fn project(folder: &Path) {
    let csvdir = compiled_csvdir(folder);
    let ledger = built("provender_example_ledger");
    let config = format!(
        "project: flights\nplugins: [{}, {}]\noffline_store: {{type: csvdir, path: tables}}\n\
         online_store: {{type: ledger, path: ledger}}\n",
        csvdir.display(),
        ledger.display()
    );
    fs::write(folder.join("provender.yaml"), config).unwrap();
    fs::create_dir(folder.join("features")).unwrap();
    fs::write(folder.join("features/all.yaml"), FEATURES).unwrap();
    fs::create_dir(folder.join("tables")).unwrap();
    fs::write(folder.join("tables/weather.csv"), WEATHER).unwrap();
    provender(folder, ["apply", "--yes"]);
}

struct Served {
    process: Child,
    address: String,
}

impl Served {
    fn of(folder: &Path) -> Self {
        let mut process = Command::new(binary())
            .arg("-C")
            .arg(folder)
            .args(["serve", "--flight", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut address)
            .unwrap();
        let address = address.trim().replace("grpc://", "http://");
        assert!(address.starts_with("http://"), "the server did not start");
        Self { process, address }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn read(client: &mut FlightServiceClient<Channel>, airports: &str) -> RecordBatch {
    let ticket =
        format!(r#"{{"op":"online","service":"outlook","entities":{{"airport":{airports}}}}}"#);
    let messages = client
        .do_get(Request::new(Ticket::new(ticket)))
        .await
        .unwrap();
    let messages = messages.into_inner().map_err(Into::into);
    let batches: Vec<_> = FlightRecordBatchStream::new_from_flight_data(messages)
        .try_collect()
        .await
        .unwrap();
    let found = batches.into_iter().find(|batch| batch.num_rows() > 0);
    found.expect("rows")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn project_of_two_plugins_is_materialised_verified_and_served() {
    let folder = tempfile::tempdir().unwrap();
    project(folder.path());
    provender(
        folder.path(),
        ["materialize-incremental", "--end", "1970-01-02"],
    );
    provender(folder.path(), ["verify", "--full"]);
    let served = Served::of(folder.path());
    let channel = Channel::from_shared(served.address.clone()).unwrap();
    let mut client = FlightServiceClient::new(channel.connect().await.unwrap());
    let rows = read(&mut client, r#"["Zürich", "JFK", "EWR"]"#).await;
    let temps = rows
        .column_by_name("temp")
        .unwrap()
        .as_primitive::<Float64Type>();
    let gusts = rows
        .column_by_name("gusts")
        .unwrap()
        .as_primitive::<Int64Type>();
    assert_eq!(
        temps.iter().collect::<Vec<_>>(),
        [Some(-3.25), Some(-0.5), None]
    );
    assert_eq!(gusts.iter().collect::<Vec<_>>(), [None, Some(9), None]);
}
