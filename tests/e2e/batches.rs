//! Many messages at once, on the page's thread and in a worker: `sendMany`, `recvMany`, and how what was read is told.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use duologue_server::{Call, ServiceError};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::{
    browser::{Browser, Profile},
    in_process::InProcess,
    within,
};

/// What `told` sends, message by message.
const TOLD: usize = 100;

/// A server with `echo`, and with `told`, which sends [`TOLD`] messages and counts those that the page has taken.
struct Here {
    server: InProcess,
    taken: Arc<AtomicUsize>,
}

impl Here {
    async fn new() -> Self {
        let taken = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&taken);
        let told = move |call: Call| tell(call, Arc::clone(&counted));
        Self { server: InProcess::start(|duologue| duologue.service("told", told)).await, taken }
    }

    /// A page without a line of its own; `line` is one in this context, anew with each call.
    async fn line(&self, browser: &Browser, worker: bool) {
        browser.open(&self.server.file("/duologue.js")).await;
        let open = "
            const { connect } = await import('/duologue.js');
            globalThis.line = connect({ ...args, account: String(args.worker) });
            await line.ready;";
        browser.run(open, json!({ "invite": self.server.invite(), "worker": worker })).await;
    }

    /// Waits until the page is known to have taken so many.
    async fn took(&self, count: usize) {
        let started = Instant::now();
        while self.taken.load(Ordering::SeqCst) < count {
            let taken = self.taken.load(Ordering::SeqCst);
            assert!(started.elapsed() < Duration::from_secs(20), "the page has taken {taken} of {count}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // And no more than that.
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(self.taken.swap(0, Ordering::SeqCst), count);
    }
}

async fn tell(call: Call, taken: Arc<AtomicUsize>) -> Result<(), ServiceError> {
    let channel = call.channel;
    let (done, all) = oneshot::channel::<()>();
    let mut sent = Vec::new();
    for number in 0..TOLD {
        sent.push(channel.send(vec![u8::try_from(number)?; 64]).await?);
    }
    tokio::spawn(async move {
        for sent in sent {
            if sent.taken().await.is_ok() {
                taken.fetch_add(1, Ordering::SeqCst);
            }
        }
        drop(done);
    });
    let _ = all.await;
    Ok(())
}

#[tokio::test]
async fn browser_many_messages_are_sent_and_received_together_in_order_in_every_context() {
    let here = Here::new().await;
    let browser = Browser::start(&Profile::trusting(here.server.trust.clone())).await;
    for worker in [false, true] {
        here.line(&browser, worker).await;
        let there_and_back = "
            const channel = line.channel('echo');
            const messages = Array.from({ length: 5_000 }, (_, number) => Uint32Array.of(number));
            const sent = channel.sendMany(messages);
            // Between two others it keeps its place.
            channel.send(Uint32Array.of(5_000));
            const came = [];
            let batches = 0;
            while (came.length < 5_001) {
                const batch = await channel.recvMany();
                if (batch.length === 0) throw new Error('it ended');
                batches++;
                for (const message of batch) came.push(new Uint32Array(message.buffer)[0]);
            }
            await sent;
            await channel.sendMany([]);
            // What cannot be sent is told before any of it has left.
            const refused = await channel.sendMany(['one', 17]).then(() => 'sent', (error) => error.name);
            const long = await channel.sendMany(['two', new Uint8Array(17 << 20)]).then(() => 'sent', (error) => error.code);
            await channel.send('three');
            const next = (await channel.recvMany()).map((bytes) => new TextDecoder().decode(bytes));
            // With the iterator it takes turns.
            channel.sendMany(['four', 'five']);
            const { value } = await channel[Symbol.asyncIterator]().next();
            const rest = [];
            while (rest.length < 1) rest.push(...(await channel.recvMany()));
            channel.finish();
            const end = await channel.recvMany();
            const late = await channel.sendMany(['late']).then(() => 'sent', (error) => [error.code, error.delivery]);
            const inOrder = came.every((number, at) => number === at);
            return [inOrder, batches < 1_000, refused, long, next, new TextDecoder().decode(value), rest.length, end, late];";
        assert_eq!(
            browser.run(there_and_back, Value::Null).await,
            json!([true, true, "TypeError", "message-too-long", ["three"], "four", 1, [], ["finished", "not sent"]]),
            "in a worker: {worker}"
        );
    }
    browser.finish().await;
}

/// What a task has read is told once, when it has nothing left to do: neither less nor more than that.
#[tokio::test]
async fn browser_what_was_read_is_told_wherever_the_reading_stops() {
    let here = Here::new().await;
    let browser = Browser::start(&Profile::trusting(here.server.trust.clone())).await;
    let read = |count: usize, then: &str| {
        format!(
            "const channel = line.channel('told');
            const messages = channel[Symbol.asyncIterator]();
            for (let left = {count}; left > 0; left--) await messages.next();
            {then}"
        )
    };
    for worker in [false, true] {
        here.line(&browser, worker).await;
        // A reader that stops in the middle of what has arrived.
        browser.run(&read(37, "globalThis.first = channel;"), Value::Null).await;
        within(30, "37 to be told", here.took(37)).await;
        // One that goes on where it was.
        let on = "for (let left = 10; left > 0; left--) await first[Symbol.asyncIterator]().next();";
        browser.run(on, Value::Null).await;
        within(30, "10 more", here.took(10)).await;
        // All of it, to its end.
        browser.run(&read(TOLD, "channel.finish();"), Value::Null).await;
        within(30, "all", here.took(TOLD)).await;
    }
    browser.finish().await;
}
