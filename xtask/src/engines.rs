//! The end-to-end tests in two more engines: Firefox's, and WebKitGTK's, which is Safari's kin.
//!
//! ```text
//! tests named browser_… ─► less those named here, each with its reason ─► the same binary with DUOLOGUE_ENGINE
//! ```
//!
//! docs/ENGINES.md says what each engine lacks and what the page does instead.

use std::path::PathBuf;

use crate::tools;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Engine {
    Firefox,
    Webkit,
}

/// Tests that are left out, by their whole name, and why.
type LeftOut = (&'static str, &'static str);

/// Those that only Chromium can run, or need not be run thrice.
const FOR_CHROMIUM: [LeftOut; 24] = [
    ("reload::browser_a_reload_goes_on_with_the_line_its_session_and_its_socket", NO_WORKER_OUTLIVES),
    ("reload::browser_a_line_without_a_page_ends_when_its_time_is_over", NO_WORKER_OUTLIVES),
    ("reload::browser_a_line_that_is_lost_without_a_page_is_not_dialled_again", NO_WORKER_OUTLIVES),
    (
        "reload::browser_a_page_of_another_build_has_a_worker_of_its_own_and_the_old_one_does_not_wait",
        NO_WORKER_OUTLIVES,
    ),
    ("tabs::browser_tabs_have_one_socket_and_the_first_that_closes_costs_the_others_nothing", OWN_THREAD),
    ("ways::browser_tabs_have_a_line_each_where_none_opens_in_a_shared_worker", OWN_THREAD),
    (
        "snapshot::browser_a_page_that_was_frozen_or_kept_goes_on_over_the_same_socket",
        "no socket of its outlives a page's sleep",
    ),
    ("page_access::browser_axe_finds_nothing_serious_in_either_language_and_theme", "asks for what only DevTools can"),
    ("upload::browser_with_a_handle_to_the_file_a_reload_goes_on_by_itself", "the page gets no handle to a file"),
    ("fetch::browser_a_large_answer_leaves_the_pages_memory_flat", "measured in Chromium"),
    ("fetch::browser_a_large_file_is_sent_as_it_is_read", "measured in Chromium"),
    ("upload::browser_a_file_of_200_mb_survives_ten_cuts_in_flat_memory", "measured in Chromium"),
    ("worker::browser_worker_never_blocks_the_page_while_50_mb_go_through_a_stream", "measured in Chromium"),
    ("page_trust::browser_round_trips_are_measured_by_themselves_while_the_page_is_seen", "measured in Chromium"),
    ("resume::browser_ten_thousand_messages_each_way_survive_fifty_cuts", "long; another has twelve cuts"),
    (
        "upload::browser_another_file_of_the_same_name_and_length_does_not_go_on_where_the_first_was",
        "long, and the server's matter",
    ),
    ("fetch::browser_fetch_does_the_same_where_a_request_has_no_stream", "it has none anyway"),
    ("passkeys::browser_passkey_is_registered_and_steps_up_wherever_the_line_is", "its driver has no authenticator"),
    (
        "passkeys::browser_passkey_is_good_after_a_change_of_network_under_the_persons_finger",
        "its driver has no authenticator",
    ),
    (
        "passkeys::browser_passkey_of_one_line_is_told_on_another_and_its_assertion_is_worth_nothing_there",
        "its driver has no authenticator",
    ),
    (
        "passkeys::browser_passkey_is_offered_by_the_page_in_both_languages_and_by_the_keyboard",
        "its driver has no authenticator",
    ),
    ("passkeys::browser_axe_finds_nothing_serious_where_a_person_shows_to_be_there", "asks for what only DevTools can"),
    ("sight::browser_axe_finds_nothing_serious_in_what_the_owner_sees", "asks for what only DevTools can"),
    ("sight::browser_passkey_of_the_owner_is_asked_for_before_a_device_is_revoked", "its driver has no authenticator"),
];

/// Tests of these files are for Chromium alone where everything is run on a build machine, which has an hour: they are of what the
/// page says and shows, by scripts that all engines have in common, or of what the server does. `--engine`, and `--full` elsewhere,
/// run them.
pub(crate) const NOT_ON_BUILD_MACHINES: [&str; 19] = [
    "desk::",
    "drain::",
    "giving::",
    "guests::",
    "login::",
    "notes::",
    "page_access::",
    "page_causes::",
    "page_middleman::",
    "page_person::",
    "page_trust::",
    "page_way::",
    "pictures::",
    "pressure::",
    "renewal::",
    "saying::",
    "sight::",
    "slow::",
    "tails::",
];

const FOR_FIREFOX: [LeftOut; 2] = [
    (
        "worker::browser_worker_goes_on_when_the_browser_shows_a_left_page_again",
        "a page that had a WebSocket is loaded anew",
    ),
    (
        "refusals::browser_a_policy_that_forbids_the_socket_is_told_at_once_in_every_context",
        "it tells of the policy after the socket's end, which reads as unreachable",
    ),
];

const FOR_WEBKIT: [LeftOut; 19] = [
    (
        "reload::browser_a_page_that_is_left_and_kept_does_not_dial_and_goes_on_when_it_is_shown_again",
        "a line that was lost while its page was kept is not open again within 20 s",
    ),
    ("first_run::browser_past_the_warning_a_lost_connection_comes_back", DRIVER_WARNS_NOT),
    ("first_run::browser_past_the_warning_the_seventeenth_tab_waits_by_name", DRIVER_WARNS_NOT),
    ("tabs::browser_tabs_go_on_together_after_their_path_was_cut", OWN_THREAD),
    ("tabs::browser_a_tab_that_goes_without_a_word_takes_along_what_it_had_opened", OWN_THREAD),
    ("first_run::browser_past_the_warning_a_served_page_opens_on_a_telephone", DRIVER_WARNS_NOT),
    ("first_run::browser_past_the_warning_an_app_has_its_line_in_whatever_worker_it_asks_for", DRIVER_WARNS_NOT),
    ("page::browser_that_is_started_again_has_its_key", "nothing is kept under its driver"),
    ("page::browser_a_served_page_works_and_offers_its_link_to_nobody", "it can be given no name"),
    ("page::browser_every_file_delivered_is_the_one_that_the_build_lists", "it can be given no name"),
    ("page_trust::browser_a_server_whose_owner_does_not_allow_it_gives_no_links", "it can be given no name"),
    ("page_causes::browser_that_reads_french_is_told_in_french", "it has the machine's language"),
    (
        "lan::browser_a_page_opened_by_a_network_address_has_its_line_and_gives_that_address_on",
        "its driver takes a certificate for localhost only",
    ),
    ("page_access::browser_nothing_overflows_at_320_pixels_in_french", "no window is so narrow"),
    ("pictures::browser_picture_of_a_narrow_page_in_french", "no window is so narrow"),
    (
        "desk::browser_serve_without_a_desk_shows_none_refuses_it_and_writes_nothing_of_what_is_said",
        "it can be given no name",
    ),
    (
        "page::browser_loads_one_language_and_keeps_it_when_the_other_cannot_be_had",
        "its cache has the other, and no page can empty it",
    ),
    (
        "refusals::browser_a_policy_that_forbids_the_socket_is_told_at_once_in_every_context",
        "it tells of the policy after the socket's end, which reads as unreachable",
    ),
    (
        "refusals::browser_a_page_without_webassembly_is_told_so",
        "a worker that may make no module ends without a word at times",
    ),
];

const OWN_THREAD: &str = "the page's line is on its own thread, since its workers end with their last page";

const NO_WORKER_OUTLIVES: &str = "its workers end with their last page";

const DRIVER_WARNS_NOT: &str = "its driver knows of no warning; another does without one";

/// The one test of WebKitGTK without a driver.
const BY_HAND: LeftOut = (
    "first_run::browser_past_the_warning_the_printed_link_opens_twice_and_in_a_second_tab",
    "no xdotool on PATH to pass the warning by",
);

impl Engine {
    pub(crate) const ALL: [Self; 2] = [Self::Firefox, Self::Webkit];

    /// As `DUOLOGUE_ENGINE` has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Firefox => "firefox",
            Self::Webkit => "webkit",
        }
    }

    /// What its tests find in their environment; none where it is missing.
    pub(crate) fn environment(self) -> Option<(&'static str, PathBuf)> {
        match self {
            Self::Firefox => tools::geckodriver().map(|driver| ("GECKODRIVER", driver)),
            Self::Webkit => tools::minibrowser().map(|browser| ("MINIBROWSER", browser)),
        }
    }

    pub(crate) fn left_out(self) -> impl Iterator<Item = LeftOut> {
        let (own, by_hand) = match self {
            Self::Firefox => (FOR_FIREFOX.as_slice(), None),
            Self::Webkit => (FOR_WEBKIT.as_slice(), (!tools::has_xdotool()).then_some(&BY_HAND)),
        };
        FOR_CHROMIUM.iter().chain(own).chain(by_hand).copied()
    }
}
