//! The firewall: which networks and countries may connect, and how much each address, each identity and all together may begin.
//!
//! ```text
//! accept, PROXY header ─► admits: networks, countries ─► takes: connections ─► TLS ─► request ─► the same for whom only a header
//!                                                                                     names, 403 ─► takes: handshakes, 429
//! verdict ─► proves: handshakes of an identity · channel ─► purse: messages, bytes, requests (`debts.rs`)
//! ```
//!
//! How many may be under way at a time is the lobby's to say and `services/share.rs`'s; here is how many begin in a minute. Whoever's
//! address is not known, or is this machine's own, is nobody of whom anything is counted: a proxy that the owner has not named may
//! speak from there for everybody. Every table has a fixed size (`table.rs`).

mod countries;
mod debts;
mod files;
mod networks;
mod settings;
mod table;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::{
    hash::{BuildHasher as _, RandomState},
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Instant,
};

use ipnet::IpNet;
use thiserror::Error;

pub use files::InvalidList;
pub use settings::{Budgets, CountryList, CountrySettings, FirewallSettings, Otherwise};

pub(crate) use countries::parse as country;
pub(crate) use debts::Purse;
pub(crate) use files::{network, read_network};
pub(crate) use table::What;

use super::holder::Holder;
use crate::watch::{
    events::{Event, Kind},
    stream::Watch,
};
use countries::Countries;
use debts::{Debts, Rates};
use files::Stamp;
use networks::{Networks, Said};
use table::{Key, Table};

/// Networks of all lists together. Each takes 64 bytes, and as many again while they are read.
const NETWORKS_MAX: usize = 250_000;

/// What stands between the network and everything that costs something. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Firewall(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    lists: RwLock<Arc<Lists>>,
    sources: Mutex<Vec<Source>>,
    counted: Mutex<Counted>,
    debts: Debts,
    started: Instant,
    /// Makes a number of an identity that nobody can choose.
    identities: RandomState,
    watch: Watch,
}

/// What holds now.
#[derive(Debug, Default)]
struct Lists {
    settings: FirewallSettings,
    /// What an identity may take of messages, bytes and requests, and all together.
    identity: Rates,
    all: Rates,
    networks: Networks,
    exempt: Networks,
    countries: Option<Countries>,
    /// Where files are that do not say it.
    directory: PathBuf,
}

/// A file as it was when it was read, and as it was looked at last.
#[derive(Debug)]
struct Source {
    path: PathBuf,
    read: Option<Stamp>,
    seen: Option<Stamp>,
}

#[derive(Debug, Default)]
struct Counted {
    /// Made when somebody is counted first: a server behind a proxy that says nothing of its clients needs none.
    table: Option<Table<RandomState>>,
    all: OfAll,
}

/// What all together have taken, as in the table.
#[derive(Debug, Default)]
struct OfAll {
    paid_at: [u64; 2],
    told_until: u64,
}

/// Why somebody is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum Refusal {
    #[error("Your address is kept out for a time.")]
    Banned,
    #[error("Your network may not connect to this server.")]
    Network,
    #[error("This server takes no connections from your country.")]
    Country,
    #[error("Too much comes from your network: try again in a minute.")]
    Budget,
}

impl Refusal {
    const fn kind(self) -> Kind {
        match self {
            Self::Banned => Kind::BannedCame,
            Self::Network => Kind::NetworkDenied,
            Self::Country => Kind::CountryDenied,
            Self::Budget => Kind::BudgetExceeded,
        }
    }
}

/// Lists and settings that were read, and do not count yet.
#[derive(Debug)]
pub(crate) struct Loaded(Lists, Vec<Source>);

/// What has become of files that were looked at again.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Looked {
    Same,
    /// Something else counts now.
    Changed,
    /// They cannot be used, and what was read before still counts.
    Broken(InvalidList),
}

impl Default for Firewall {
    fn default() -> Self {
        Self::new(Watch::default())
    }
}

impl Firewall {
    /// One that tells whom it turns away.
    pub(crate) fn new(watch: Watch) -> Self {
        Self(Arc::new(Inner {
            lists: RwLock::default(),
            sources: Mutex::default(),
            counted: Mutex::default(),
            debts: Debts::default(),
            started: Instant::now(),
            identities: RandomState::new(),
            watch,
        }))
    }

    /// Reads the files that settings name, from that directory where they do not say from where.
    ///
    /// # Errors
    /// If one of them cannot be used, or there are too many networks.
    pub(crate) fn load(settings: FirewallSettings, directory: &Path) -> Result<Loaded, InvalidList> {
        let mut sources = Vec::new();
        let mut source = |file: &Path| {
            let path = directory.join(file);
            let stamp = Stamp::of(&path);
            sources.push(Source { path: path.clone(), read: stamp, seen: stamp });
            path
        };
        let mut all: Vec<(IpNet, Said)> = settings.allow.iter().map(|network| (*network, Said::Allowed)).collect();
        all.extend(settings.deny.iter().map(|network| (*network, Said::Denied)));
        let allow = settings.allow_files.iter().map(|file| (file, Said::Allowed));
        for (file, said) in allow.chain(settings.deny_files.iter().map(|file| (file, Said::Denied))) {
            let path = source(file);
            all.extend(files::networks(&path)?.into_iter().map(|network| (network, said)));
            if all.len() > NETWORKS_MAX {
                let why = format!("has more networks than there is room for: all lists have {NETWORKS_MAX} at most");
                return Err(InvalidList::new(&path, why));
            }
        }
        let countries = settings.countries.as_ref().map(|CountrySettings { file, list, unknown }| {
            let path = source(file);
            let bytes = files::read(&path, countries::FILE_LEN_MAX)?;
            Countries::new(bytes, list.clone(), *unknown).map_err(|why| InvalidList::new(&path, why))
        });
        let lists = Lists {
            networks: Networks::new(all),
            exempt: Networks::new(settings.exempt.iter().map(|network| (*network, Said::Allowed))),
            countries: countries.transpose()?,
            identity: settings.identity.per_second(1),
            all: settings.all.per_second(1),
            settings,
            directory: directory.to_owned(),
        };
        Ok(Loaded(lists, sources))
    }

    /// What was read counts from now on, whole and at once.
    pub(crate) fn set(&self, Loaded(lists, sources): Loaded) {
        let mut own = self.sources();
        *self.0.lists.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(lists);
        *own = sources;
    }

    /// Whether it has files that may change.
    pub(crate) fn has_files(&self) -> bool {
        !self.sources().is_empty()
    }

    /// Reads the files again, if one has changed and does not change any more: whoever writes a file in pieces has not written its
    /// end when its beginning is there. Blocks.
    pub(crate) fn look_again(&self) -> Looked {
        let mut sources = self.sources();
        let (mut has_changed, mut is_at_rest) = (false, true);
        for source in &mut *sources {
            let stamp = Stamp::of(&source.path);
            has_changed |= stamp != source.read;
            is_at_rest &= stamp == source.seen;
            source.seen = stamp;
        }
        if !has_changed || !is_at_rest {
            return Looked::Same;
        }
        let lists = self.lists();
        match Self::load(lists.settings.clone(), &lists.directory) {
            Ok(Loaded(lists, read)) => {
                *self.0.lists.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(lists);
                *sources = read;
                Looked::Changed
            }
            Err(error) => {
                // Told once, until it is another again.
                sources.iter_mut().for_each(|source| source.read = source.seen);
                Looked::Broken(error)
            }
        }
    }

    /// Whether an address may connect at all; none: it is not known.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn admits(&self, address: Option<IpAddr>) -> Result<(), Refusal> {
        self.lists().judge(address).map_err(|why| {
            let (now, bounded) = (self.now(), address.filter(|address| is_bounded(*address)));
            let narrowest = bounded.map(table::networks).and_then(|mut networks| networks.next());
            let mut counted = self.counted();
            let tells = match narrowest {
                Some((key, _)) => counted.table().refused(key, now),
                None => counted.all.tells(now),
            };
            drop(counted);
            self.refuses(why, address, tells)
        })
    }

    /// Whether an address may be here, for somebody who has come already.
    pub(crate) fn permits(&self, address: Option<IpAddr>) -> bool {
        self.lists().judge(address).is_ok()
    }

    /// Takes one of what an address may begin in a minute, and of what all may together.
    ///
    /// # Errors
    /// If nothing of it is left.
    pub(crate) fn takes(&self, what: What, address: Option<IpAddr>) -> Result<(), Refusal> {
        self.takes_at(self.now(), what, address)
    }

    fn takes_at(&self, now: u64, what: What, address: Option<IpAddr>) -> Result<(), Refusal> {
        let lists = self.lists();
        let (own, all) = (lists.settings.address.of(what), lists.settings.all.of(what));
        let address = address.filter(|address| is_bounded(*address));
        let is_exempt = address.is_some_and(|address| lists.exempt.find(address).is_some());
        let networks = address.map(table::networks);
        if !cfg!(feature = "watch") || is_exempt || (all.is_none() && (own.is_none() || networks.is_none())) {
            return Ok(());
        }
        let mut counted = self.counted();
        let Counted { table, all: of_all } = &mut *counted;
        let mut pays = None;
        if let Some(per_minute) = all {
            let cost = table::cost(per_minute, 1);
            let is_over = table::is_over(of_all.paid_at[what as usize], now, cost);
            let narrowest = networks.clone().and_then(|mut networks| networks.next());
            // Who was here before comes in also then.
            let is_known = || {
                let table = table.as_ref();
                narrowest.is_some_and(|(key, _)| table.is_some_and(|table| table.is_known(key, now)))
            };
            if is_over && !is_known() {
                let tells = of_all.tells(now);
                drop(counted);
                return Err(self.refuses(Refusal::Budget, address, tells));
            }
            pays = (!is_over).then_some(cost);
        }
        if let (Some(networks), Some(per_minute)) = (networks, own) {
            let table = table.get_or_insert_with(|| Table::new(RandomState::new()));
            if let Err(over) = table.take(now, what, per_minute, networks) {
                drop(counted);
                return Err(self.refuses(Refusal::Budget, address, over.tells));
            }
        }
        if let Some(cost) = pays {
            let paid_at = &mut of_all.paid_at[what as usize];
            *paid_at = (*paid_at).max(now) + cost;
        }
        Ok(())
    }

    /// Takes one of the handshakes that somebody may make in a minute who has proved who he is.
    ///
    /// # Errors
    /// If none of them is left.
    pub(crate) fn proves(&self, holder: &Holder) -> Result<(), Refusal> {
        let bound = self.lists().settings.identity.of(What::Handshake).filter(|_| cfg!(feature = "watch"));
        let Some(per_minute) = bound else { return Ok(()) };
        let key = Key::identity(self.0.identities.hash_one(holder));
        let now = self.now();
        let taken = self.counted().table().take(now, What::Handshake, per_minute, [(key, 1)].into_iter());
        taken.map_err(|over| {
            if over.tells {
                let event = Event::of(Kind::BudgetExceeded).code("handshakes");
                self.0.watch.tell(match holder {
                    Holder::Device(device) => event.device(*device),
                    Holder::Subject(subject) => event.subject(Some(subject.as_str())),
                    Holder::Guests(_) => event,
                });
            }
            Refusal::Budget
        })
    }

    /// Somebody was let in from there.
    pub(crate) fn lets_in(&self, address: IpAddr) {
        // It counts only where all together have a bound.
        if !self.lists().settings.all.is_of_strangers() || !is_bounded(address) {
            return;
        }
        if let Some((key, _)) = table::networks(address).next() {
            let now = self.now();
            self.counted().table().is_known_now(key, now);
        }
    }

    /// Says so, once a minute for each network; how many came is in nobody's interest but theirs who flood.
    fn refuses(&self, why: Refusal, address: Option<IpAddr>, tells: bool) -> Refusal {
        if tells {
            let event = Event::of(why.kind());
            self.0.watch.tell(address.into_iter().fold(event, Event::address));
        }
        why
    }

    /// Since it was made, in nanoseconds.
    fn now(&self) -> u64 {
        u64::try_from(self.0.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn lists(&self) -> Arc<Lists> {
        Arc::clone(&self.0.lists.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.0.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sources(&self) -> MutexGuard<'_, Vec<Source>> {
        self.0.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counted {
    fn table(&mut self) -> &mut Table<RandomState> {
        self.table.get_or_insert_with(|| Table::new(RandomState::new()))
    }
}

impl OfAll {
    /// Whether a refusal is to be told, of those that are nobody's.
    fn tells(&mut self, now: u64) -> bool {
        let tells = self.told_until <= now;
        if tells {
            self.told_until = now + table::PERIOD;
        }
        tells
    }
}

impl Lists {
    /// The narrowest network says it; else the country; else what holds for everybody.
    fn judge(&self, address: Option<IpAddr>) -> Result<(), Refusal> {
        match address.and_then(|address| self.networks.find(address)) {
            Some(Said::Allowed) => return Ok(()),
            Some(Said::Denied) => return Err(Refusal::Network),
            None => {}
        }
        // This machine is in no country, and whoever is locked out of it has no way left to say otherwise.
        if address.is_some_and(networks::is_loopback) {
            return Ok(());
        }
        let by_country = match (&self.countries, address) {
            (None, _) => None,
            (Some(countries), Some(address)) => countries.judge(address),
            (Some(countries), None) => countries.judge_unknown(),
        };
        match (by_country, self.settings.otherwise) {
            (Some(Otherwise::Allow), _) | (None, Otherwise::Allow) => Ok(()),
            (Some(Otherwise::Deny), _) => Err(Refusal::Country),
            (None, Otherwise::Deny) => Err(Refusal::Network),
        }
    }
}

/// Whether something is counted of an address: a proxy that nobody has named may speak from this machine for everybody.
const fn is_bounded(address: IpAddr) -> bool {
    !networks::is_loopback(address) && !address.is_unspecified()
}
