//! A terminal for the server, as its owner has one: what it shows, and what is typed.

use std::{
    fs::File,
    io::{Read, Write},
    process::Stdio,
    sync::{Arc, Weak},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{Mode, OFlags},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, OptionalActions, OutputModes, Winsize, tcgetattr, tcsetattr, tcsetwinsize},
};

/// Our end of it. The window is closed when it is dropped.
pub(crate) struct Terminal(Arc<File>);

impl Terminal {
    /// A terminal, and its other end for a child's input and output.
    pub(crate) fn new() -> (Self, [Stdio; 2]) {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
        grantpt(&ours).expect("a terminal");
        unlockpt(&ours).expect("a terminal");
        let name = ptsname(&ours, Vec::new()).expect("a terminal has a name");
        // Not the terminal of this process, which would be hung up with it.
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let theirs = rustix::fs::open(name, flags, Mode::empty()).expect("the other end");
        // What is typed is not shown as well, or the tests would find their own words.
        let mut modes = tcgetattr(&theirs).expect("the modes of a terminal");
        modes.local_modes -= LocalModes::ECHO;
        modes.output_modes -= OutputModes::OPOST;
        tcsetattr(&theirs, OptionalActions::Now, &modes).expect("the modes of a terminal");
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&theirs, size).expect("the size of a terminal");
        let twice = theirs.try_clone().expect("a second handle");
        (Self(Arc::new(File::from(ours))), [theirs, twice].map(Stdio::from))
    }

    /// What it shows, until the child is gone or the window is closed.
    pub(crate) fn shown(&self) -> impl Read + Send + 'static {
        Shown(Arc::downgrade(&self.0))
    }

    pub(crate) fn type_line(&self, text: &str) {
        (&*self.0).write_all(format!("{text}\n").as_bytes()).expect("the terminal is there");
    }
}

struct Shown(Weak<File>);

impl Read for Shown {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        // In short waits, since this handle is one more that keeps the window open.
        const TURN: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        while let Some(file) = self.0.upgrade() {
            if poll(&mut [PollFd::new(&*file, PollFlags::IN)], Some(&TURN))? > 0 {
                return (&*file).read(bytes);
            }
        }
        Ok(0)
    }
}
