//! The hot path: one client, one batch after the other, the server beside the floor in alternating
//! rounds, and the same reads without any server.

use std::collections::HashMap;
use std::hint::black_box;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, RecordBatch};
use provender_core::Context;
use provender_store::OnlineCall;
use serde_json::json;

use crate::client::{self, Client, Exchange, online_ticket};
use crate::data::{self, Shape};
use crate::measure::{Sample, measure};
use crate::project::Project;
use crate::report::{Report, difference, figure, line, median, table};
use crate::servers::Server;
use crate::stages::Stages;
use crate::{Options, Outcome};

/// What is measured of a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum What {
    FloorExchange,
    OurExchange,
    FloorGet,
    OurGet,
    /// `OnlineCall::read` in this process.
    Read,
}

const ALL: [What; 5] = [
    What::FloorExchange,
    What::OurExchange,
    What::FloorGet,
    What::OurGet,
    What::Read,
];

/// A shape with its requests and the read that the server makes for it.
pub(crate) struct Prepared {
    shape: Shape,
    requests: Vec<RecordBatch>,
    tickets: Vec<String>,
    call: OnlineCall,
    cx: Context,
}

/// Everything that is read, prepared.
pub(crate) fn prepare(project: &Project, options: &Options) -> Outcome<Vec<Prepared>> {
    let shapes = options.shapes.iter().map(|&shape| {
        let requests = data::requests(shape, options.keys, 1)?;
        let tickets = requests.iter().map(|request| {
            let drivers = request.column(0).as_primitive::<Int64Type>();
            online_ticket(shape, drivers.values()).to_string()
        });
        Ok(Prepared {
            shape,
            tickets: tickets.collect(),
            call: project.call(shape, &requests[0])?,
            cx: project.context(),
            requests,
        })
    });
    shapes.collect()
}

/// Measures, and prints two tables.
pub(crate) async fn run(
    shapes: &[Prepared],
    floor: &Server,
    ours: &Server,
    options: &Options,
    report: &mut Report,
) -> Outcome<()> {
    let floor_client = client::connect(&floor.address).await?;
    let our_client = client::connect(&ours.address).await?;
    for prepared in shapes {
        prepared.check(our_client.clone(), report).await?;
    }
    let mut samples: HashMap<(Shape, What), Vec<Sample>> = HashMap::new();
    let mut stages: HashMap<Shape, Vec<Stages>> = HashMap::new();
    for round in 0..options.rounds {
        for prepared in shapes {
            let shape = prepared.shape;
            for turn in 0..ALL.len() {
                let what = ALL[(turn + round) % ALL.len()];
                let (server, client) = match what {
                    What::FloorExchange | What::FloorGet => (Some(floor), &floor_client),
                    What::OurExchange | What::OurGet => (Some(ours), &our_client),
                    What::Read => (None, &our_client),
                };
                let servers: Vec<&Server> = server.into_iter().collect();
                let sample = prepared
                    .measure(what, client, &servers, options.seconds)
                    .await?;
                let of = json!({
                    "what": format!("{what:?}"), "shape": shape.to_string(), "round": round,
                });
                report.sample("call", &of, &sample)?;
                samples.entry((shape, what)).or_default().push(sample);
            }
            let keys = &prepared.requests[0];
            let answer = prepared.call.read(&prepared.cx, keys).await?;
            let measured = Stages::measure(keys, &answer, options.seconds / 2.0).await?;
            let mut values = measured.to_json();
            values["shape"] = json!(shape.to_string());
            values["round"] = json!(round);
            report.record("stages", &values)?;
            stages.entry(shape).or_default().push(measured);
        }
    }
    tell(&samples, &stages, options, report)
}

impl Prepared {
    async fn measure(
        &self,
        what: What,
        client: &Client,
        servers: &[&Server],
        seconds: f64,
    ) -> Outcome<Sample> {
        let n = self.requests.len();
        match what {
            What::FloorExchange | What::OurExchange => {
                let schema = self.requests[0].schema();
                let mut exchange = Exchange::open(client.clone(), self.shape, schema).await?;
                measure(seconds, servers, async |number: usize| {
                    black_box(exchange.ask(&self.requests[number % n]).await?);
                    Ok(())
                })
                .await
            }
            What::FloorGet | What::OurGet => {
                let mut client = client.clone();
                measure(seconds, servers, async |number: usize| {
                    let ticket = &self.tickets[number % n];
                    black_box(client::get(&mut client, self.shape, ticket).await?);
                    Ok(())
                })
                .await
            }
            What::Read => {
                measure(seconds, servers, async |number: usize| {
                    let keys = &self.requests[number % n];
                    black_box(self.call.read(&self.cx, keys).await?);
                    Ok(())
                })
                .await
            }
        }
    }

    /// Compares answers with those of the same reads in this process, which miss nothing.
    async fn check(&self, mut client: Client, report: &mut Report) -> Outcome<()> {
        let shape = self.shape;
        let schema = self.requests[0].schema();
        let mut exchange = Exchange::open(client.clone(), shape, schema).await?;
        for (keys, ticket) in self.requests.iter().zip(&self.tickets).take(20) {
            let right = self.call.read(&self.cx, keys).await?;
            if right.columns().iter().any(|column| column.null_count() > 0) {
                report.wrong(format!("{shape}: a feature is missing"));
            }
            for (verb, answer) in [
                ("DoExchange", exchange.ask(keys).await?),
                ("DoGet", client::get(&mut client, shape, ticket).await?),
            ] {
                let same = matches!(&answer[..], [only] if only.columns() == right.columns());
                if !same {
                    report.wrong(format!(
                        "{verb} {shape}: another answer than in the process"
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Prints what it came to: medians over the rounds, differences and ratios within each.
fn tell(
    samples: &HashMap<(Shape, What), Vec<Sample>>,
    stages: &HashMap<Shape, Vec<Stages>>,
    options: &Options,
    report: &mut Report,
) -> Outcome<()> {
    let of = |shape, what| samples.get(&(shape, what)).map_or(&[][..], Vec::as_slice);
    let mut lines = vec![line([
        "call",
        "keys x features",
        "floor p50",
        "ours p50",
        "ours - floor",
        "goal",
        "in process",
        "floor p99",
        "ours p99",
        "ours / floor",
        "floor CPU",
        "ours CPU",
    ])];
    for (verb, floor, ours) in [
        ("DoExchange", What::FloorExchange, What::OurExchange),
        ("DoGet", What::FloorGet, What::OurGet),
    ] {
        for &shape in &options.shapes {
            let (floor, ours) = (of(shape, floor), of(shape, ours));
            let rounds = || floor.iter().zip(ours);
            let p99 = |samples: &[Sample]| median(samples.iter().filter_map(Sample::p99_us));
            let cpu = |samples: &[Sample]| median(samples.iter().map(Sample::server_cpu_us));
            let above = median(rounds().map(|(floor, ours)| ours.p50_us() - floor.p50_us()));
            let ratio =
                median(rounds().filter_map(|(floor, ours)| Some(ours.p99_us()? / floor.p99_us()?)));
            let goal = shape.goal_us().filter(|_| verb == "DoExchange");
            let (floor_p50, ours_p50) = (p50(floor), p50(ours));
            let read = p50(of(shape, What::Read));
            lines.push(vec![
                verb.to_owned(),
                shape.to_string(),
                figure(floor_p50),
                figure(ours_p50),
                difference(above),
                goal.map_or_else(|| "-".to_owned(), |goal| format!("<= +{goal}")),
                figure(read),
                figure(p99(floor)),
                figure(p99(ours)),
                figure(ratio),
                figure(cpu(floor)),
                figure(cpu(ours)),
            ]);
            report.record(
                "call_summary",
                &json!({
                    "verb": verb, "shape": shape.to_string(), "floor_p50_us": floor_p50,
                    "p50_us": ours_p50, "above_p50_us": above, "goal_us": goal, "read_p50_us": read,
                    "floor_p99_us": p99(floor), "p99_us": p99(ours), "p99_ratio": ratio,
                    "floor_server_cpu_us": cpu(floor), "server_cpu_us": cpu(ours),
                }),
            )?;
        }
    }
    let title = format!(
        "Hot path: one client, one call after the other; us, medians of {} rounds; CPU is the server's",
        options.rounds
    );
    table(&title, 2, &lines);

    let mut lines = vec![line([
        "keys x features",
        "read",
        "decode keys: stock",
        "ours",
        "encode answer: stock",
        "ours",
        "ours - floor",
        "of it read",
        "messages",
        "all else",
    ])];
    for &shape in &options.shapes {
        let stages = stages.get(&shape).map_or(&[][..], Vec::as_slice);
        let stage = |of: fn(&Stages) -> f64| median(stages.iter().map(of));
        let (floor, ours) = (of(shape, What::FloorExchange), of(shape, What::OurExchange));
        let above = median(
            floor
                .iter()
                .zip(ours)
                .map(|(floor, ours)| ours.p50_us() - floor.p50_us()),
        );
        let read = p50(of(shape, What::Read));
        let messages = stage(Stages::above_us);
        let rest = above
            .zip(read)
            .zip(messages)
            .map(|((above, read), messages)| above - read - messages);
        lines.push(vec![
            shape.to_string(),
            figure(read),
            figure(stage(|stages| stages.stock_decode_us)),
            figure(stage(|stages| stages.our_decode_us)),
            figure(stage(|stages| stages.stock_encode_us)),
            figure(stage(|stages| stages.our_encode_us)),
            difference(above),
            difference(read),
            difference(messages),
            difference(rest),
        ]);
    }
    table(
        "Where the time of DoExchange goes: its parts, each in one process alone; us",
        1,
        &lines,
    );
    Ok(())
}

fn p50(samples: &[Sample]) -> Option<f64> {
    median(samples.iter().map(Sample::p50_us))
}
