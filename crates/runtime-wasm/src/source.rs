//! Runs a source: its guest is called once and goes on until it ends, or is to end.
//!
//! It may wait for as long as it likes. What ends it is computing for too long without waiting and without a record: waiting is seen by
//! its future, which then is pending though no tick of the epoch clock made it so.

use functions::runtime::{Event, Exit, LogLevel};
use futures::future::BoxFuture;
use std::{
    pin::{Pin, pin},
    sync::atomic::Ordering::Relaxed,
    task::{Context, Poll},
    time::Duration,
};
use tokio::sync::mpsc;

use crate::{
    driver::{Body, Driver, Keeper, Ticking, stopped},
    host::EXCEPTION_BYTES_MAX,
    outbox::cut,
};

/// How long a source may take to end by itself: as child processes have it.
const PARTING: Duration = Duration::from_secs(3);

/// How the guest of a source ended.
enum Ended {
    /// It has nothing more, ever.
    Done,
    /// It said that it failed, or broke.
    Failed(String),
    /// Nobody wants it any more.
    Stopped,
}

impl Driver {
    /// Serves the link of a source until it ends.
    pub(crate) async fn serve_source(&mut self) -> Exit {
        let Some(emissions) = self.host().emissions.clone() else {
            return failed("it is no source");
        };
        // Nobody else takes answers: a source asks nothing.
        let requests = std::mem::replace(&mut self.host().link.requests, mpsc::channel(1).1);
        let mut listening = pin!(emissions.listen(requests));
        if let Err(error) = self.open().await {
            return failed(error);
        }
        let ended = {
            let mut running = pin!(self.run_source());
            tokio::select! {
                biased;
                ended = &mut running => ended,
                () = &mut listening => {
                    tokio::time::timeout(PARTING, running).await.unwrap_or(Ended::Stopped)
                }
            }
        };
        self.discard();
        match ended {
            Ended::Done if emissions.is_ending() => stopped(),
            // An instance that ends is started again, and this one has no more to do.
            Ended::Done => {
                if self.keeper.outbox.send(&self.keeper.events).await {
                    tokio::select! {
                        () = &mut listening => {}
                        () = self.keeper.events.closed() => {}
                    }
                }
                stopped()
            }
            Ended::Failed(why) if emissions.is_ending() => {
                self.keeper.outbox.log(LogLevel::Warn, &format!("while it ended: {why}"));
                stopped()
            }
            Ended::Failed(why) => failed(why),
            Ended::Stopped => stopped(),
        }
    }

    async fn run_source(&mut self) -> Ended {
        let Body::Live(guest) = &mut self.body else { return Ended::Failed("it has no guest".to_owned()) };
        let Some(function) = guest.exports.run_source else {
            return Ended::Failed("the component has no `run-source`".to_owned());
        };
        guest.store.data_mut().host.progress.restart();
        let call = self.keeper.attended(function.call_async(&mut guest.store, ()));
        let said = tokio::select! {
            biased;
            said = call => said,
            () = self.keeper.events.closed() => return Ended::Stopped,
        };
        match said {
            Ok((Ok(()),)) => Ended::Done,
            Ok((Err(why),)) => Ended::Failed(cut(&why, EXCEPTION_BYTES_MAX).to_owned()),
            Err(error) => Ended::Failed(self.keeper.explain(&guest.store, &error)),
        }
    }
}

impl Keeper {
    fn attended<F: Future>(&self, guest: F) -> Attended<'_, F> {
        Attended { keeper: self, guest: Box::pin(guest), sending: None }
    }
}

/// Sends what a source says whenever its thread is given up, and lets the time in which it waited not count.
struct Attended<'a, F> {
    keeper: &'a Keeper,
    guest: Pin<Box<F>>,
    /// There was no room.
    sending: Option<BoxFuture<'static, bool>>,
}

impl<F: Future> Future for Attended<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let keeper = self.keeper;
        let progress = &keeper.progress;
        let ticks = progress.ticks.load(Relaxed);
        let mut guest = Ticking { engine: &keeper.shared.engine, inner: self.guest.as_mut() };
        if let Poll::Ready(ended) = Pin::new(&mut guest).poll(context) {
            return Poll::Ready(ended);
        }
        if progress.ticks.load(Relaxed) == ticks {
            progress.restart();
        }
        if self.sending.is_none() && !keeper.outbox.try_send(&keeper.events) {
            let (outbox, events): (_, mpsc::Sender<Vec<Event>>) = (keeper.outbox.clone(), keeper.events.clone());
            self.sending = Some(Box::pin(async move { outbox.send(&events).await }));
        }
        if let Some(sending) = &mut self.sending
            && sending.as_mut().poll(context).is_ready()
        {
            self.sending = None;
        }
        Poll::Pending
    }
}

fn failed(why: impl ToString) -> Exit {
    Exit { is_clean: false, reason: why.to_string() }
}
