//! Services: what the server runs behind a channel's label. One async function for each opened channel.

use std::{
    any::Any,
    collections::HashMap,
    fmt,
    future::Future,
    pin::{Pin, pin},
    sync::{Arc, Weak},
};

use duologue::{
    ChannelError, Claims, DeviceId, SessionId,
    typed::{self, Request},
};
use duologue_native::{Channel, LineError};
use tracing::Instrument as _;
use tracing::Span;
use tracing::field::Empty;

use crate::watch::events::{Event, Kind};
use crate::{
    door::{
        error::DoorError,
        evidence::{Identity, Transport},
        gate::Gate,
        holder::Holder,
        seat::{Seat, Since},
        standing::{Group, Level, Proof, Standing, Subject},
        work::{Share, Work},
    },
    services::{
        others::Others,
        right::{NotAllowed, NotVouched, Right, Terms},
    },
    state::store::StoreError,
    watch::{log::SPANS, metrics::Times, text},
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
    /// Where work that blocks is done.
    pub(crate) work: Work,
    /// Proved, and what it may do.
    pub(crate) right: Arc<Right>,
    /// Of the same person.
    pub(crate) others: Arc<dyn Others>,
    /// When what is asked for was asked.
    pub(crate) since: Since,
}

impl Call {
    /// The device that calls.
    #[must_use]
    pub fn device(&self) -> DeviceId {
        self.right.seat.device()
    }

    /// Proved: the device, and who uses it as the server knows it at this moment. Standing rises and falls while a channel is
    /// open, so that a service that asks for it asks each time.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.right.seat.identity()
    }

    /// Asks the policy for one request of this channel, for services that take requests ([`Service::takes_requests`]): its
    /// method, and its path without a query. To be asked before anything is done for it.
    ///
    /// # Errors
    /// If no rule opens it to this caller.
    pub fn ask_for(&self, method: &str, path: &str) -> Result<(), NotAllowed> {
        self.right.request(method, path)
    }

    /// Names the subject of this session, by an own login of the app: it counts as [`Level::Account`] until `until`, in seconds
    /// since 1970, and on this session alone. What the subject may open is open from now on.
    ///
    /// It is the answer to what was asked for when the call began: where somebody has signed out since, it comes too late. A service
    /// whose channel has more than one question takes each by [`Call::anew`].
    ///
    /// # Errors
    /// If the session is another subject's, the owner has revoked this one or a group of it, or somebody has signed out since.
    pub fn vouch(&self, subject: Subject, groups: &[Group], until: u64) -> Result<(), NotVouched> {
        let standing = Standing {
            subject: Some(subject.clone()),
            groups: groups.into(),
            level: Level::Account,
            until: Some(until),
            present_at: None,
            proof: Proof::Vouch,
        };
        self.right.prove(standing, self.since)?;
        self.others.has_come(&subject, self.right.seat.device());
        self.tell_standing(None);
        Ok(())
    }

    /// The same call, for another question of its channel that comes now: who has signed out before it has not signed out since.
    #[must_use]
    pub fn anew(&self) -> Self {
        Self { since: Since::now(), ..self.clone() }
    }

    /// Ends what was proved on this session: it falls to what its device has without, and what that does not open is reset. A device
    /// that was here by that alone is put out.
    pub fn sign_out(&self) {
        self.right.sign_out();
        self.others.has_signed_out(&self.right.seat);
    }

    /// An event of this caller, at this service.
    pub(crate) fn event(&self, kind: Kind) -> Event {
        self.right.event(kind).label(&self.channel.label())
    }

    /// What is measured where it passes.
    pub(crate) fn times(&self) -> &Times {
        self.right.gate().watch.times()
    }

    pub(crate) fn tell(&self, event: Event) {
        self.right.tell(event);
    }

    pub(crate) fn tell_standing(&self, refused: Option<DoorError>) {
        let told = self.right.seat.told(refused, false);
        self.channel.line().command(|line, _| line.tell(&told));
    }

    /// Who the caller is where something is shared out, as it is now.
    pub(crate) fn holder(&self) -> Holder {
        self.right.seat.holder()
    }

    /// What the caller may have done of work that blocks.
    pub(crate) fn share(&self) -> Share {
        self.work.of(self.holder())
    }

    /// Says of each device which one its branch began with: whoever lets others in shares with them what one may have.
    pub(crate) fn roots(&self) -> Arc<dyn Fn(DeviceId) -> DeviceId + Send + Sync> {
        let gate = Arc::clone(self.right.gate());
        Arc::new(move |device| gate.root(device))
    }

    /// What a service keeps for the session, made when it is first asked for; none if another service has the place.
    pub(crate) fn kept<T: Any + Default + Send + Sync>(&self) -> Option<Arc<T>> {
        self.right.seat.kept()
    }

    /// Does something that blocks, such as reading a file or asking a database, where it holds up nobody. A device has four
    /// things done at a time, on all its lines together, and so have all guests together; what is asked for beyond that waits.
    ///
    /// # Errors
    /// If thousands of its questions wait already, or the work has panicked.
    pub async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ServiceError> {
        Ok(self.share().run(work).await?)
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

    /// The level that it asks for itself, whatever the policy opens. See [`at_level`].
    fn demands(&self) -> Level {
        Level::Guest
    }

    /// Whether its channels carry requests with a method and a path, for each of which it asks the policy by
    /// [`Call::ask_for`]. Rules that speak of paths and methods open nothing else.
    fn takes_requests(&self) -> bool {
        false
    }

    /// Which of its channels go on in the process that comes after this one, where sessions are kept (`[sessions] keep`). They are then
    /// served anew: what it had not settled by [`Channel::settle`] comes again, so that doing that twice must do no harm, and what it
    /// had noted is in [`Channel::noted`]. None, unless told; see [`going_on`].
    fn goes_on(&self) -> GoesOn {
        GoesOn::Never
    }

    /// Whether it asks the state directory. Where another process has taken that over, which is this server's successor, its channels end
    /// as `going-away`: asked again, the successor answers.
    fn needs_state(&self) -> bool {
        false
    }
}

/// Which channels of a service go on in the process that comes after this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoesOn {
    /// None: they end as `going-away`.
    Never,
    /// Those on which it has noted something ([`Channel::settle`], [`Channel::note`]).
    WhereNoted,
    /// All.
    Always,
}

impl GoesOn {
    fn with(self, is_noted: bool) -> bool {
        self == Self::Always || (self == Self::WhereNoted && is_noted)
    }
}

/// A service whose channels go on in the process that comes after this one: see [`Service::goes_on`]. [`answer`] may be one, if doing
/// twice what a request asks for does no harm.
///
/// ```
/// use duologue_server::{Call, ServiceError, going_on};
///
/// /// Numbers the messages of a channel, from 1, each once, whatever becomes of the server meanwhile.
/// async fn number(call: Call) -> Result<(), ServiceError> {
///     let mut count = call.channel.noted().try_into().map_or(0, u64::from_be_bytes);
///     while let Some(message) = call.channel.recv_ahead().await? {
///         count += 1;
///         let answer = format!("{count}: {}", String::from_utf8_lossy(&message));
///         call.channel.settle(Some(answer.into()), Some(&count.to_be_bytes())).await?;
///     }
///     Ok(())
/// }
///
/// let service = going_on(number);
/// ```
pub fn going_on(service: impl Service) -> impl Service {
    GoingOn(service)
}

struct GoingOn<S>(S);

impl<S: Service> Service for GoingOn<S> {
    fn serve(&self, call: Call) -> impl Future<Output = Result<(), ServiceError>> + Send {
        self.0.serve(call)
    }

    fn demands(&self) -> Level {
        self.0.demands()
    }

    fn takes_requests(&self) -> bool {
        self.0.takes_requests()
    }

    fn goes_on(&self) -> GoesOn {
        GoesOn::Always
    }

    fn needs_state(&self) -> bool {
        self.0.needs_state()
    }
}

/// A service that asks for a level, whatever the policy opens: its channels are refused below it, and reset when the caller's
/// standing falls.
pub fn at_level(level: Level, service: impl Service) -> impl Service {
    AtLevel { level, service }
}

struct AtLevel<S> {
    level: Level,
    service: S,
}

impl<S: Service> Service for AtLevel<S> {
    fn serve(&self, call: Call) -> impl Future<Output = Result<(), ServiceError>> + Send {
        self.service.serve(call)
    }

    fn demands(&self) -> Level {
        self.level.max(self.service.demands())
    }

    fn takes_requests(&self) -> bool {
        self.service.takes_requests()
    }

    fn goes_on(&self) -> GoesOn {
        self.service.goes_on()
    }

    fn needs_state(&self) -> bool {
        self.service.needs_state()
    }
}

/// A service with a function around it, which sees each call first: it may look at who calls, refuse, write a log, or count, and
/// goes on by [`Next::serve`].
///
/// ```
/// use duologue_server::{Call, Next, ServiceError, layered, services};
///
/// async fn staff_only(call: Call, next: Next) -> Result<(), ServiceError> {
///     match call.identity().groups.iter().any(|group| group.as_str() == "staff") {
///         true => next.serve(call).await,
///         false => Err("for staff only".into()),
///     }
/// }
///
/// let service = layered(services::echo, staff_only);
/// ```
pub fn layered<S, F, T>(service: S, layer: F) -> impl Service
where
    S: Service,
    F: Fn(Call, Next) -> T + Send + Sync + 'static,
    T: Future<Output = Result<(), ServiceError>> + Send,
{
    Layered { service: Arc::new(service), layer }
}

struct Layered<S, F> {
    service: Arc<S>,
    layer: F,
}

impl<S, F, T> Service for Layered<S, F>
where
    S: Service,
    F: Fn(Call, Next) -> T + Send + Sync + 'static,
    T: Future<Output = Result<(), ServiceError>> + Send,
{
    fn serve(&self, call: Call) -> impl Future<Output = Result<(), ServiceError>> + Send {
        (self.layer)(call, Next(Arc::clone(&self.service) as Arc<dyn Erased>))
    }

    fn demands(&self) -> Level {
        self.service.demands()
    }

    fn takes_requests(&self) -> bool {
        self.service.takes_requests()
    }

    fn goes_on(&self) -> GoesOn {
        self.service.goes_on()
    }

    fn needs_state(&self) -> bool {
        self.service.needs_state()
    }
}

/// The service behind a layer.
pub struct Next(Arc<dyn Erased>);

impl Next {
    /// Serves the call.
    ///
    /// # Errors
    /// Those of the service.
    pub async fn serve(self, call: Call) -> Result<(), ServiceError> {
        self.0.serve(call).await
    }
}

impl fmt::Debug for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Next")
    }
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
    let is_kept = call.channel.is_kept();
    loop {
        let message = if is_kept { call.channel.recv_ahead().await? } else { call.channel.recv().await? };
        let Some(message) = message else { return Ok(()) };
        let response = encode(&respond(decode(&message)?, call.anew()).await?)?;
        match is_kept {
            true => call.channel.settle(Some(response), None).await?,
            false => drop(call.channel.send(response).await?),
        }
    }
}

/// [`Service`] with its future boxed, so that services of different types stand in one table.
trait Erased: Send + Sync {
    fn serve(&self, call: Call) -> Pin<Box<dyn Future<Output = Result<(), ServiceError>> + Send + '_>>;
    fn demands(&self) -> Level;
    fn takes_requests(&self) -> bool;
    fn goes_on(&self) -> GoesOn;
    fn needs_state(&self) -> bool;
}

impl<S: Service> Erased for S {
    fn serve(&self, call: Call) -> Pin<Box<dyn Future<Output = Result<(), ServiceError>> + Send + '_>> {
        Box::pin(Service::serve(self, call))
    }

    fn demands(&self) -> Level {
        Service::demands(self)
    }

    fn takes_requests(&self) -> bool {
        Service::takes_requests(self)
    }

    fn goes_on(&self) -> GoesOn {
        Service::goes_on(self)
    }

    fn needs_state(&self) -> bool {
        Service::needs_state(self)
    }
}

/// A channel that a caller has opened.
pub(crate) struct Opened {
    pub(crate) channel: Channel,
    pub(crate) gate: Arc<Gate>,
    pub(crate) seat: Arc<Seat>,
    pub(crate) claims: Claims,
    pub(crate) session: SessionId,
    pub(crate) work: Work,
    pub(crate) others: Arc<dyn Others>,
}

/// Services by label.
#[derive(Clone, Default)]
pub(crate) struct Services(Arc<HashMap<String, Arc<dyn Erased>>>);

impl Services {
    pub(crate) fn insert(&mut self, label: &str, service: impl Service) {
        Arc::make_mut(&mut self.0).insert(label.to_owned(), Arc::new(service));
    }

    /// What is answered to this caller as it is now, or once its person is present where that is taken; in order.
    pub(crate) fn told(&self, gate: &Gate, seat: &Seat) -> duologue::Services {
        let is_open = |(label, service): (&String, &Arc<dyn Erased>)| {
            gate.opens(seat, label, service.demands(), service.takes_requests()).then_some(label.clone())
        };
        let mut labels: Vec<_> = self.0.iter().filter_map(is_open).collect();
        labels.sort_unstable();
        duologue::Services::told(labels.iter().map(String::as_str))
    }

    /// The rules that open something to a caller as it is now, each once, in their order; no more than a few.
    pub(crate) fn rules(&self, gate: &Gate, seat: &Seat, max: usize) -> Vec<Arc<str>> {
        let rule = |(label, service): (&String, &Arc<dyn Erased>)| {
            gate.opened_by(seat, label, service.demands(), service.takes_requests())
        };
        let mut rules: Vec<_> = self.0.iter().filter_map(rule).collect();
        rules.sort_unstable();
        rules.dedup();
        rules.truncate(max);
        rules.into_iter().map(|(_, name)| name).collect()
    }

    /// Whether anything at all is open to a caller as it is now.
    pub(crate) fn any_is_open(&self, gate: &Gate, seat: &Seat) -> bool {
        self.0.iter().any(|(label, service)| gate.opens(seat, label, service.demands(), service.takes_requests()))
    }

    /// The same table, for whoever must not keep it.
    pub(crate) fn downgrade(&self) -> WeakServices {
        WeakServices(Arc::downgrade(&self.0))
    }

    /// Whether a channel of that label goes on in another process.
    pub(crate) fn goes_on(&self, label: &str, is_noted: bool) -> bool {
        self.0.get(label).is_some_and(|service| service.goes_on().with(is_noted))
    }

    /// What a service itself asks for. None if there is none of that label.
    pub(crate) fn terms(&self, label: &str) -> Option<Terms> {
        self.0.get(label).map(|service| Terms {
            demands: service.demands(),
            takes_requests: service.takes_requests(),
            needs_state: service.needs_state(),
        })
    }

    /// Serves a channel in a task of its own, to its end, its caller's or its right's.
    pub(crate) fn start(&self, opened: Opened) {
        let Opened { channel, gate, seat, claims, session, work, others } = opened;
        let (label, since) = (channel.label(), Since::now());
        let service = self.0.get(&label).cloned();
        let terms = self.terms(&label).unwrap_or_default();
        let transport = seat.transport();
        // Around whatever the service itself logs. The label is the caller's until it is one of these.
        let span = match &service {
            Some(_) => tracing::info_span!(
                target: SPANS, "service", label, device = %seat.device(), %session, otel.status_code = Empty
            ),
            None => Span::none(),
        };
        let right = Arc::new(Right::new(gate, seat, channel.downgrade(), label.clone(), terms));
        channel.set_pace(Arc::clone(&right) as _);
        let served = async move {
            let mut changed = pin!(right.changed());
            changed.as_mut().enable();
            let until = match right.ask() {
                Ok(until) => until,
                Err(refused) => return channel.reset(refused.code()),
            };
            let Some(service) = service else {
                // The label is the caller's, and of any length and content.
                right.tell(right.event(Kind::LabelUnknown));
                return channel.reset(duologue::ResetCode::Refused);
            };
            if channel.is_revived() && !service.goes_on().with(!channel.noted().is_empty()) {
                return channel.reset(duologue::ResetCode::GoingAway);
            }
            let right_of_it = Arc::clone(&right);
            let call = Call { channel: channel.clone(), transport, claims, work, right: right_of_it, others, since };
            let broken = channel.broken();
            tokio::select! {
                code = right.lost(changed, until) => channel.reset(code),
                result = service.serve(call) => match result {
                    Ok(()) => channel.finish(),
                    // The caller's own doing is no failure of the service.
                    Err(error) if error.downcast_ref::<LineError>().is_some_and(is_the_callers) => {
                        channel.reset(duologue::ResetCode::Cancelled);
                    }
                    Err(error) if matches!(error.downcast_ref(), Some(StoreError::HandedOver)) => {
                        channel.reset(duologue::ResetCode::GoingAway);
                    }
                    Err(error) => {
                        let error = text::shown_within(&error.to_string(), CAUSE_CHARS_MAX);
                        Span::current().record("otel.status_code", "ERROR");
                        right.tell(right.event(Kind::ServiceFailed).label(&label).note(error));
                        channel.reset(duologue::ResetCode::Failed);
                    }
                },
                _ = broken => {}
            }
        };
        tokio::spawn(served.instrument(span));
    }
}

/// Whether a line's error is its caller's doing: an answer that is too long for the caller is the service's.
const fn is_the_callers(error: &LineError) -> bool {
    !matches!(error, LineError::Channel(ChannelError::MessageTooLong { .. } | ChannelError::DatagramTooLong { .. }))
}

/// Services that somebody else keeps.
pub(crate) struct WeakServices(Weak<HashMap<String, Arc<dyn Erased>>>);

impl WeakServices {
    /// None if nobody has them any more.
    pub(crate) fn upgrade(&self) -> Option<Services> {
        self.0.upgrade().map(Services)
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
