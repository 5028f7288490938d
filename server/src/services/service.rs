//! Services: what the server runs behind a channel's label. One async function for each opened channel.

use std::{collections::HashMap, fmt, future::Future, pin::Pin, sync::Arc};

use duologue::{
    ChannelError, Claims, DeviceId,
    typed::{self, Request},
};
use duologue_native::{Channel, LineError};

use crate::{
    door::{
        evidence::{Identity, Transport},
        seat::Seat,
        work::Share,
    },
    watch::text,
};

/// What the log has of a service's error, in characters.
const CAUSE_CHARS_MAX: usize = 200;

/// One opened channel and its caller. What is proved, what was seen and what is merely said are three values, never mixed.
#[derive(Clone, Debug)]
pub struct Call {
    /// Reads and writes.
    pub channel: Channel,
    /// Seen.
    pub transport: Transport,
    /// Said by the client, unverified.
    pub claims: Claims,
    /// What the device may have done of work that blocks.
    pub(crate) share: Share,
    /// Proved.
    pub(crate) seat: Arc<Seat>,
}

impl Call {
    /// The device that calls.
    #[must_use]
    pub fn device(&self) -> DeviceId {
        self.seat.device()
    }

    /// Proved: the device, and who uses it as the server knows it at this moment. Standing rises and falls while a channel is
    /// open, so that a service that asks for it asks each time.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.seat.identity()
    }

    /// Does something that blocks, such as reading a file or asking a database, where it holds up nobody. A device has four
    /// things done at a time, on all its lines together; what it asks for beyond that waits.
    ///
    /// # Errors
    /// If thousands of its questions wait already, or the work has panicked.
    pub async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ServiceError> {
        Ok(self.share.run(work).await?)
    }
}

/// Why a service gave up. The caller learns only that it failed; the cause goes to the log.
pub type ServiceError = Box<dyn std::error::Error + Send + Sync>;

/// What answers behind a label. When the function returns, the channel is finished; when it fails, the channel is reset;
/// when the caller cancels, the future is dropped.
///
/// Every `async fn(Call) -> Result<(), ServiceError>` is a service.
pub trait Service: Send + Sync + 'static {
    /// Serves one channel to its end.
    fn serve(&self, call: Call) -> impl Future<Output = Result<(), ServiceError>> + Send;
}

impl<F, T> Service for F
where
    F: Fn(Call) -> T + Send + Sync + 'static,
    T: Future<Output = Result<(), ServiceError>> + Send,
{
    fn serve(&self, call: Call) -> impl Future<Output = Result<(), ServiceError>> + Send {
        self(call)
    }
}

/// A service that answers typed requests: one message in, one message out, as often as the caller asks on the channel.
///
/// The function gets the request and the call, for who asks; what it returns is the answer.
pub fn answer<R, F, T>(respond: F) -> impl Service
where
    R: Request,
    F: Fn(R, Call) -> T + Send + Sync + 'static,
    T: Future<Output = Result<R::Response, ServiceError>> + Send + 'static,
{
    let respond = Arc::new(respond);
    let encode = |response: &R::Response| Ok(typed::encode(response));
    move |call: Call| answering(call, Arc::clone(&respond), |bytes| Ok(typed::decode(bytes)?), encode)
}

/// Answers the messages of a channel until there are no more.
pub(crate) async fn answering<R, F, T>(
    call: Call,
    respond: Arc<F>,
    decode: impl Fn(&[u8]) -> Result<R, ServiceError>,
    encode: impl Fn(&R::Response) -> Result<Vec<u8>, ServiceError>,
) -> Result<(), ServiceError>
where
    R: Request,
    F: Fn(R, Call) -> T,
    T: Future<Output = Result<R::Response, ServiceError>>,
{
    while let Some(message) = call.channel.recv().await? {
        let response = respond(decode(&message)?, call.clone()).await?;
        call.channel.send(encode(&response)?).await?;
    }
    Ok(())
}

/// [`Service`] with its future boxed, so that services of different types stand in one table.
trait Erased: Send + Sync {
    fn serve(&self, call: Call) -> Pin<Box<dyn Future<Output = Result<(), ServiceError>> + Send + '_>>;
}

impl<S: Service> Erased for S {
    fn serve(&self, call: Call) -> Pin<Box<dyn Future<Output = Result<(), ServiceError>> + Send + '_>> {
        Box::pin(Service::serve(self, call))
    }
}

/// Services by label.
#[derive(Clone, Default)]
pub(crate) struct Services(Arc<HashMap<String, Arc<dyn Erased>>>);

impl Services {
    pub(crate) fn insert(&mut self, label: &str, service: impl Service) {
        Arc::make_mut(&mut self.0).insert(label.to_owned(), Arc::new(service));
    }

    /// What is answered, in order.
    pub(crate) fn told(&self) -> duologue::Services {
        let mut labels: Vec<_> = self.0.keys().map(String::as_str).collect();
        labels.sort_unstable();
        duologue::Services::told(labels)
    }

    /// Serves a channel in a task of its own, to its end or its caller's.
    pub(crate) fn start(&self, call: Call) {
        let (label, channel) = (call.channel.label(), call.channel.clone());
        let Some(service) = self.0.get(&label).cloned() else {
            // The label is the caller's, and of any length and content.
            tracing::info!(device = %call.device(), "no such service");
            return channel.reset(duologue::ResetCode::Refused);
        };
        let device = call.device();
        tokio::spawn(async move {
            let broken = channel.broken();
            tokio::select! {
                result = service.serve(call) => match result {
                    Ok(()) => channel.finish(),
                    // The caller's own doing is no failure of the service.
                    Err(error) if error.downcast_ref::<LineError>().is_some_and(is_the_callers) => {
                        channel.reset(duologue::ResetCode::Cancelled);
                    }
                    Err(error) => {
                        let error = text::shown_within(&error.to_string(), CAUSE_CHARS_MAX);
                        tracing::warn!(label, %device, %error, "a service failed");
                        channel.reset(duologue::ResetCode::Failed);
                    }
                },
                _ = broken => {}
            }
        });
    }
}

/// Whether a line's error is its caller's doing: an answer that is too long for the caller is the service's.
const fn is_the_callers(error: &LineError) -> bool {
    !matches!(error, LineError::Channel(ChannelError::MessageTooLong { .. } | ChannelError::DatagramTooLong { .. }))
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
