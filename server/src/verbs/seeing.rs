//! What is seen of a server from outside beside its log, where it is built so: traces, by a collector (feature `otlp`), and its tasks, by
//! tokio-console (feature `tokio-console`). docs/OPERATING.md says how.

use duologue_server::settings::ServerSettings;
use tracing::Subscriber;
use tracing_subscriber::{Layer, registry::LookupSpan};

use super::wrong_usage;

const NO_TRACES: &str = "`traces` of [log], or --traces, is for a duologue that is built with it: \
     cargo build --release --package duologue-server --features otlp";
const NO_CONSOLE: &str = "`console` of [log], or --console, is for a duologue that is built with it: \
     RUSTFLAGS=\"--cfg tokio_unstable\" cargo build --release --package duologue-server --features tokio-console";

/// Whether this binary has what is asked for.
pub(crate) fn judge(settings: &ServerSettings) -> anyhow::Result<()> {
    match (&settings.traces, &settings.console) {
        (Some(_), _) if !cfg!(feature = "otlp") => Err(wrong_usage(NO_TRACES)),
        (_, Some(_)) if !cfg!(feature = "tokio-console") => Err(wrong_usage(NO_CONSOLE)),
        _ => Ok(()),
    }
}

/// Those who see, for as long as the process lives.
#[derive(Clone, Default)]
pub(crate) struct Seeing {
    #[cfg(feature = "otlp")]
    traces: Option<traces::Traces>,
    #[cfg(feature = "tokio-console")]
    console: Option<console::Console>,
}

impl Seeing {
    /// From now on the log can tell what fails of it.
    pub(crate) fn begin(&self) {
        #[cfg(feature = "tokio-console")]
        self.console.iter().for_each(console::Console::begin);
    }

    /// Sends what has not been sent yet.
    pub(crate) fn end(&self) {
        #[cfg(feature = "otlp")]
        self.traces.iter().for_each(traces::Traces::end);
    }
}

type Layers<S> = Option<Vec<Box<dyn Layer<S> + Send + Sync>>>;

/// What settings ask for, beside the log.
#[cfg_attr(
    not(any(feature = "otlp", feature = "tokio-console")),
    expect(unused_variables, unused_mut, reason = "nothing is there that could be asked for")
)]
pub(crate) fn layers<S>(settings: &ServerSettings) -> (Layers<S>, Seeing)
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    let (mut layers, mut seeing) = (Vec::new(), Seeing::default());
    #[cfg(feature = "otlp")]
    if let Some(collector) = &settings.traces {
        let (layer, traces) = traces::to(collector);
        layers.push(layer);
        seeing.traces = Some(traces);
    }
    #[cfg(feature = "tokio-console")]
    if let Some(address) = settings.console {
        let (layer, console) = console::at(address);
        layers.push(layer);
        seeing.console = Some(console);
    }
    ((!layers.is_empty()).then_some(layers), seeing)
}

#[cfg(feature = "otlp")]
mod traces {
    //! Spans, in batches and by a thread of their own. One that does not get there is dropped.

    use std::{
        fmt,
        pin::Pin,
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
        time::Duration,
    };

    use duologue_server::{OWNERS, SPANS};
    use opentelemetry::{KeyValue, trace::TracerProvider as _};
    use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response, hyper::HyperClient};
    use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
    use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
    use tokio::runtime::Handle;
    use tracing::Subscriber;
    use tracing_subscriber::{Layer, filter::filter_fn, registry::LookupSpan};

    /// How long a collector may take for a batch, and for the last ones at the end.
    const PATIENCE: Duration = Duration::from_secs(3);

    #[derive(Clone)]
    pub(super) struct Traces(SdkTracerProvider);

    pub(super) fn to<S>(collector: &str) -> (Box<dyn Layer<S> + Send + Sync>, Traces)
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let client = Collector {
            address: collector.to_owned(),
            client: HyperClient::with_default_connector(PATIENCE, None),
            home: Handle::current(),
            is_away: Arc::default(),
        };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{collector}/v1/traces"))
            .with_timeout(PATIENCE)
            .build()
            .expect("the address is one, and there is a client");
        let resource = Resource::builder()
            .with_service_name("duologue")
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider = SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build();
        let layer = tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("duologue"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false);
        // Spans alone: what a library or a service logs within one is the log's.
        let layer = layer.with_filter(filter_fn(|metadata| metadata.is_span() && metadata.target() == SPANS));
        (Box::new(layer), Traces(provider))
    }

    impl Traces {
        pub(super) fn end(&self) {
            // That it is away was told.
            let _ = self.0.shutdown_with_timeout(PATIENCE);
        }
    }

    struct Collector {
        address: String,
        client: HyperClient,
        /// Batches come from a thread that has no runtime.
        home: Handle,
        is_away: Arc<AtomicBool>,
    }

    impl fmt::Debug for Collector {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("Collector").field("address", &self.address).finish_non_exhaustive()
        }
    }

    impl Collector {
        /// Told once, and once more when it is over.
        fn tell(&self, error: Option<&HttpError>) {
            let (was_away, address) = (self.is_away.swap(error.is_some(), Ordering::Relaxed), &self.address);
            match error {
                Some(error) if !was_away => {
                    tracing::warn!(target: OWNERS, "traces do not reach the collector {address}, and are dropped until they do: {error}");
                }
                None if was_away => tracing::info!(target: OWNERS, "traces reach the collector {address} again"),
                _ => {}
            }
        }
    }

    impl HttpClient for Collector {
        fn send_bytes<'this, 'sent>(
            &'this self,
            request: Request<Bytes>,
        ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'sent>>
        where
            'this: 'sent,
            Self: 'sent,
        {
            let client = self.client.clone();
            let sent = self.home.spawn(async move { client.send_bytes(request).await });
            Box::pin(async move {
                let sent = sent.await.unwrap_or_else(|error| Err(error.into()));
                self.tell(sent.as_ref().err());
                sent
            })
        }
    }
}

#[cfg(feature = "tokio-console")]
mod console {
    //! Tasks, as tokio-console shows them.

    use std::{
        net::SocketAddr,
        sync::{Arc, Mutex, PoisonError},
    };

    use console_subscriber::{ConsoleLayer, Server};
    use duologue_server::OWNERS;
    use tracing::Subscriber;
    use tracing_subscriber::{Layer, filter::filter_fn, registry::LookupSpan};

    #[derive(Clone)]
    pub(super) struct Console {
        address: SocketAddr,
        server: Arc<Mutex<Option<Server>>>,
    }

    pub(super) fn at<S>(address: SocketAddr) -> (Box<dyn Layer<S> + Send + Sync>, Console)
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let (layer, server) = ConsoleLayer::builder().server_addr(address).build();
        // What tokio tells of its tasks, and nothing else.
        let layer = layer.with_filter(filter_fn(|metadata| {
            let target = metadata.target();
            metadata.name().starts_with("runtime.") || target.starts_with("runtime") || target.starts_with("tokio::")
        }));
        (Box::new(layer), Console { address, server: Arc::new(Mutex::new(Some(server))) })
    }

    impl Console {
        /// Answers on a thread of its own.
        pub(super) fn begin(&self) {
            let Some(server) = self.server.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
            let address = self.address;
            let answers = move || -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
                tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(server.serve())
            };
            let work = move || {
                if let Err(error) = answers() {
                    tracing::error!(target: OWNERS, "nobody answers tokio-console at {address}: {error}");
                }
            };
            if let Err(error) = std::thread::Builder::new().name("console".to_owned()).spawn(work) {
                tracing::error!(target: OWNERS, "nobody answers tokio-console at {address}: {error}");
            }
        }
    }
}
