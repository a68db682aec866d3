//! The Flight service: hands each call that was let in to its verb.

use std::future::Future;
use std::sync::Arc;

use arrow_flight::flight_service_server::FlightService;
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo,
    HandshakeRequest, HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
};
use futures::stream::BoxStream;
use provender_core::{Error, Result, codes};
use tonic::{Request, Response, Status, Streaming};

use crate::answering::{Answer, Answering, Weigh, single};
use crate::auth::Role;
use crate::command::Command;
use crate::incoming::{Messages, command_of};
use crate::metrics::Operation;
use crate::state::{Call, State};
use crate::status::status;
use crate::verbs::{do_action, do_exchange, do_get, do_put, info};

/// Arrow Flight over a feature store.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    state: Arc<State>,
}

impl Service {
    pub(crate) fn new(state: Arc<State>) -> Self {
        Self { state }
    }

    /// The answer that `work` leads to. Its headers go out now.
    fn answer<T, W>(&self, call: &Arc<Call>, work: W) -> Response<Answering<T>>
    where
        T: Weigh + Send + 'static,
        W: Future<Output = Result<Answer<T>>> + Send + 'static,
    {
        Response::new(Answering::new(&self.state, call, work))
    }
}

/// The call that a request was let in as.
fn call_of<T>(request: &Request<T>) -> Result<Arc<Call>, Status> {
    request
        .extensions()
        .get::<Arc<Call>>()
        .cloned()
        .ok_or_else(|| {
            status(&Error::new(
                &codes::INTERNAL,
                "a call was not let in and was made all the same",
            ))
        })
}

fn operation(command: &Command) -> Operation {
    match command {
        Command::Online(_) => Operation::online,
        Command::Historical(_) => Operation::historical,
        Command::Spine => Operation::spine,
        Command::Read(_) => Operation::read,
        Command::Push(_) => Operation::push,
    }
}

fn unimplemented(what: &str) -> Status {
    status(&Error::new(
        &codes::UNSUPPORTED,
        format!("this server has no {what}"),
    ))
}

#[tonic::async_trait]
impl FlightService for Service {
    type HandshakeStream = BoxStream<'static, Result<HandshakeResponse, Status>>;
    type ListFlightsStream = Answering<FlightInfo>;
    type DoGetStream = Answering<FlightData>;
    type DoPutStream = Answering<PutResult>;
    type DoActionStream = Answering<arrow_flight::Result>;
    type ListActionsStream = Answering<ActionType>;
    type DoExchangeStream = Answering<FlightData>;

    async fn handshake(
        &self,
        _request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        Err(unimplemented(
            "handshake: send the header `authorization: Bearer TOKEN`",
        ))
    }

    async fn list_flights(
        &self,
        request: Request<Criteria>,
    ) -> Result<Response<Self::ListFlightsStream>, Status> {
        let call = call_of(&request)?;
        call.does(Operation::info);
        let (state, cx) = (self.state.clone(), call.cx.clone());
        Ok(self.answer(&call, async move {
            let flights = info::list(&state, &cx).await?;
            let flights = futures::stream::iter(flights.into_iter().map(Ok));
            Ok(Box::pin(flights) as Answer<FlightInfo>)
        }))
    }

    async fn get_flight_info(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let call = call_of(&request)?;
        call.does(Operation::info);
        let found = info::flight_info(&self.state, &call.cx, request.into_inner());
        single(&self.state, &call, found).await.map(Response::new)
    }

    async fn poll_flight_info(
        &self,
        _request: Request<FlightDescriptor>,
    ) -> Result<Response<PollInfo>, Status> {
        Err(unimplemented("polling of flights: use GetFlightInfo"))
    }

    async fn get_schema(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<SchemaResult>, Status> {
        let call = call_of(&request)?;
        call.does(Operation::info);
        let found = async {
            let schema = info::schema_of(&self.state, &call.cx, request.get_ref()).await?;
            info::schema_bytes(&schema)
        };
        let schema = single(&self.state, &call, found).await?;
        Ok(Response::new(SchemaResult { schema }))
    }

    async fn do_get(
        &self,
        request: Request<Ticket>,
    ) -> Result<Response<Self::DoGetStream>, Status> {
        let call = call_of(&request)?;
        let (state, working) = (self.state.clone(), call.clone());
        Ok(self.answer(&call, async move {
            let ticket = request.into_inner().ticket;
            do_get::weigh(&working, &ticket)?;
            let command = Command::parse(&ticket)?;
            working.does(operation(&command));
            do_get::do_get(&state, &working, command).await
        }))
    }

    async fn do_put(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoPutStream>, Status> {
        let call = call_of(&request)?;
        let (state, working) = (self.state.clone(), call.clone());
        Ok(self.answer(&call, async move {
            let (descriptor, incoming) =
                Messages::open(&state, &working, request.into_inner()).await?;
            let command = command_of(&descriptor)?;
            working.does(operation(&command));
            // A spine is the beginning of a read.
            if matches!(command, Command::Push(_)) {
                working.may(Role::Write)?;
            }
            do_put::do_put(&state, &working, command, incoming).await
        }))
    }

    async fn do_exchange(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        let call = call_of(&request)?;
        let (state, working) = (self.state.clone(), call.clone());
        Ok(self.answer(&call, async move {
            let (descriptor, incoming) =
                Messages::open(&state, &working, request.into_inner()).await?;
            let command = command_of(&descriptor)?;
            working.does(operation(&command));
            do_exchange::do_exchange(&state, &working, command, incoming).await
        }))
    }

    async fn do_action(
        &self,
        request: Request<Action>,
    ) -> Result<Response<Self::DoActionStream>, Status> {
        let call = call_of(&request)?;
        call.does(Operation::action);
        let (state, working) = (self.state.clone(), call.clone());
        Ok(self.answer(&call, async move {
            let action = request.into_inner();
            working.may(do_action::role(&action.r#type)?)?;
            do_action::do_action(&state, &working, action).await
        }))
    }

    async fn list_actions(
        &self,
        request: Request<Empty>,
    ) -> Result<Response<Self::ListActionsStream>, Status> {
        let call = call_of(&request)?;
        call.does(Operation::action);
        Ok(self.answer(&call, async move {
            let actions = do_action::types().into_iter().map(Ok);
            Ok(Box::pin(futures::stream::iter(actions)) as Answer<ActionType>)
        }))
    }
}
