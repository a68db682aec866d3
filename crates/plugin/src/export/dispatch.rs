//! From a method's number to the future that answers it.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use provender_core::{BatchStream, Context, Error, Result, codes};
use serde::de::DeserializeOwned;

use super::completion::Reply;
use super::{Exported, Instance, Taken, answer, offline, online, registry};
use crate::abi::method;
use crate::columns::broken;
use crate::control::{Caller, Control, Open, Opened, Role, parse};
use crate::streams::{export_stream, import_stream};

/// A call's context and its work.
pub(super) type Begun = (Context, BoxFuture<'static, Result<Reply>>);

/// Reads a call's arguments and begins it.
pub(super) fn begin(exported: &'static Exported, taken: Taken) -> Result<Begun> {
    if taken.instance == 0 {
        return match taken.method {
            method::OPEN => open(exported, &taken),
            other => Err(unknown(other)),
        };
    }
    let instance = exported.find(taken.instance).ok_or_else(|| {
        Error::new(
            &codes::PROVIDER_CONTRACT,
            format!(
                "instance {} was never opened, or was closed",
                taken.instance
            ),
        )
    })?;
    match instance {
        Instance::Offline(store) => offline::begin(exported, store, taken),
        Instance::Online(store) => online::begin(exported, store, taken),
        Instance::Reader(reader) => online::read(&reader, taken),
        Instance::Registry(registry) => registry::begin(registry, &taken),
    }
}

fn open(exported: &'static Exported, taken: &Taken) -> Result<Begun> {
    let (cx, Open { role, config }) = arguments(taken)?;
    let factory = exported
        .factories
        .iter()
        .find(|factory| factory.scheme() == config.scheme)
        .cloned()
        .ok_or_else(|| {
            Error::new(
                &codes::UNKNOWN_PROVIDER,
                format!("the plug-in has no type {:?}", config.scheme),
            )
        })?;
    let context = cx.clone();
    let work = async move {
        let opened = match role {
            Role::OfflineStore => {
                let store = factory.open_offline(&cx, config).await?;
                Opened {
                    info: store.info(),
                    offline: Some(store.capabilities()),
                    online: None,
                    instance: exported.keep(Instance::Offline(store)),
                }
            }
            Role::OnlineStore => {
                let store = factory.open_online(&cx, config).await?;
                Opened {
                    info: store.info(),
                    offline: None,
                    online: Some(store.capabilities()),
                    instance: exported.keep(Instance::Online(store)),
                }
            }
            Role::Registry => {
                let registry = factory.open_registry(&cx, config).await?;
                Opened {
                    info: registry.info(),
                    offline: None,
                    online: None,
                    instance: exported.keep(Instance::Registry(registry)),
                }
            }
        };
        answer(&opened)
    };
    Ok((context, work.boxed()))
}

/// The context and the arguments of a call.
pub(super) fn arguments<A: DeserializeOwned>(taken: &Taken) -> Result<(Context, A)> {
    let control: Control<A> = parse(&taken.control, "arguments")?;
    Ok((control.caller.context(taken.timeout_us), control.arguments))
}

/// The context of a call whose arguments are none.
pub(super) fn caller(taken: &Taken) -> Result<Context> {
    #[derive(serde::Deserialize)]
    struct Alone {
        caller: Caller,
    }
    let control: Alone = parse(&taken.control, "arguments")?;
    Ok(control.caller.context(taken.timeout_us))
}

/// The one stream of a call.
pub(super) fn one_stream(taken: &mut Taken) -> Result<BatchStream> {
    match taken.streams.len() {
        1 => import_stream(taken.streams.remove(0)),
        n => Err(broken(format!("{n} streams where the method takes one"))),
    }
}

/// An answer of streams.
pub(super) fn streams(exported: &'static Exported, streams: Vec<BatchStream>) -> Reply {
    let spawn = Arc::clone(&exported.spawn);
    Reply {
        control: b"{}".to_vec(),
        streams: streams
            .into_iter()
            .map(|stream| export_stream(&*spawn, stream))
            .collect(),
        ..Reply::default()
    }
}

pub(super) fn unknown(number: u32) -> Error {
    Error::new(
        &codes::UNSUPPORTED,
        format!("the plug-in does not know method {number}"),
    )
}
