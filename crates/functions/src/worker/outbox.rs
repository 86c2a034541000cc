//! Outputs that live on another cluster: `customRuntimeOptions: {"outputCluster": NAME}`.
//!
//! ```text
//! input --> function --> outbox, a topic here --> forwarder --> output, a topic of the other cluster
//!     one commit of acknowledgement, state and outbox        once, in order, by the number of its position
//! ```
//! The forwarder is an instance of the `pulsar` sink that belongs to the function. It is there as long as the function is, also while that is
//! stopped or sleeps: what was committed goes on its way. When the function is deleted, the outbox is emptied first; what cannot leave it
//! stays there, for whoever makes a sink of it. See ADR 11.

use model::{InitialPosition, SubscriptionType, function::OutboxStatus};
use serde_json::{Map, Value};
use std::{sync::Arc, time::Duration};

use super::{
    Function, Worker,
    keeper::{self, Keeper},
    plan::{Slot, Wanted},
    resolve,
};
use crate::{
    Code, Error, FunctionSpec, Kind, Language, Result,
    event_log::Reads,
    instance,
    spec::{Elsewhere, Guarantee, InputConfig},
};

/// The option.
const OPTION: &str = "outputCluster";
/// The connector that forwards.
const CONNECTOR: &str = "pulsar";
/// The forwarder's subscription of the outbox.
const SUBSCRIPTION: &str = "forwarder";
/// How long a deletion waits until the outbox is empty, and how often it looks.
const DRAIN: (Duration, Duration) = (Duration::from_secs(10), Duration::from_millis(50));

/// The cluster that a function's options name, and what else they say.
///
/// # Errors
/// [`Error::Invalid`]: it is no name.
pub(super) fn option(options: Option<String>) -> Result<(Option<String>, Option<String>)> {
    // What is no object, the runtime knows to refuse.
    let parsed = options.as_deref().and_then(|options| serde_json::from_str::<Map<String, Value>>(options).ok());
    let Some(mut parsed) = parsed else { return Ok((None, options)) };
    let cluster = match parsed.remove(OPTION) {
        None | Some(Value::Null) => return Ok((None, options)),
        Some(Value::String(name)) if !name.is_empty() => name,
        Some(other) => return Err(invalid(format!("the name of a cluster is wanted, found {other}"))),
    };
    let rest = if parsed.is_empty() { None } else { Some(Value::Object(parsed).to_string()) };
    Ok((Some(cluster), rest))
}

/// A function whose output is on this cluster.
///
/// # Errors
/// [`Error::Invalid`]: it cannot be.
pub(super) fn elsewhere(cluster: String, spec: FunctionSpec) -> Result<FunctionSpec> {
    if spec.language == Language::Go {
        return Err(invalid("a Go function publishes by itself, to the broker of its input".to_owned()));
    }
    if cluster == spec.cluster {
        return Err(invalid(format!("{cluster} is this cluster: leave it out")));
    }
    let Some(topic) = &spec.output.topic else { return Err(invalid("the function has no output".to_owned())) };
    let topic = resolve::topic(topic)?.to_string();
    let mut spec = FunctionSpec { elsewhere: Some(Elsewhere { cluster, topic }), ..spec };
    let outbox = format!("persistent://{}-outbox", spec.fqfn());
    // A name that is none here is refused here.
    spec.output.topic = Some(resolve::topic(&outbox)?.to_string());
    Ok(spec)
}

fn invalid(why: String) -> Error {
    Error::Invalid(format!("customRuntimeOptions: {OPTION}: {why}"))
}

/// What forwards the output of `spec` to brokers at `url`.
fn forwarder(spec: &FunctionSpec, outbox: &str, there: &Elsewhere, url: &str) -> FunctionSpec {
    let configs = [("serviceUrl", url), ("topic", &there.topic)];
    FunctionSpec {
        // Its producer's name has it: what an earlier function of this name left behind is sent under another one.
        id: spec.id.clone(),
        service_url: spec.service_url.clone(),
        admin_url: spec.admin_url.clone(),
        cluster: spec.cluster.clone(),
        guarantee: Guarantee::EffectivelyOnce,
        inputs: [(outbox.to_owned(), InputConfig::default())].into(),
        subscription: SUBSCRIPTION.to_owned(),
        subscription_type: SubscriptionType::Failover,
        initial_position: InitialPosition::Earliest,
        user_config: configs.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect(),
        ..FunctionSpec::new(Kind::Sink, &spec.tenant, &spec.namespace, &spec.name, Code::Builtin(CONNECTOR.to_owned()))
    }
}

impl Worker {
    /// What forwards a function's output; `None` where it is here.
    ///
    /// # Errors
    /// [`Error::Invalid`]: the cluster is not known.
    pub(super) async fn forwarder(&self, spec: &FunctionSpec) -> Result<Option<FunctionSpec>> {
        let (Some(there), Some(outbox)) = (&spec.elsewhere, &spec.output.topic) else { return Ok(None) };
        let url = self.shared.log.cluster(&there.cluster).await.map_err(|error| match error {
            Error::Invalid(why) => invalid(why),
            other => other,
        })?;
        Ok(Some(forwarder(spec, outbox, there, &url)))
    }

    /// Checks that the output of a function that is deployed can be forwarded, and goes where it went before.
    ///
    /// # Errors
    /// [`Error::Invalid`]: it cannot; what waits in the outbox belongs elsewhere.
    pub(super) async fn must_forward(&self, name: &super::Name, spec: &FunctionSpec) -> Result<()> {
        let before = self.shared.functions.read().get(name).cloned();
        let before = before.and_then(|function| function.keeper.as_ref().ok()?.spec());
        if before.is_some_and(|before| before.elsewhere != spec.elsewhere) {
            let why = "it cannot be altered, nor can the output there: what waits to be forwarded belongs where it was";
            return Err(invalid(format!("{why}; delete the function, and create it anew")));
        }
        match self.forwarder(spec).await? {
            Some(forwarder) => keeper::prepared(&self.shared.around, Arc::new(forwarder)).await.map_err(Error::Invalid),
            None => Ok(()),
        }
    }

    /// Subscribes to the outbox of a function that was not there, before there can be anything in it.
    ///
    /// # Errors
    /// It cannot be subscribed to, and what is published to it would be lost.
    pub(super) async fn must_keep(&self, name: &super::Name, spec: &FunctionSpec) -> Result<()> {
        let before = self.shared.functions.read().get(name).cloned();
        if before.is_some_and(|function| function.outbox.is_some()) {
            return Ok(());
        }
        match self.forwarder(spec).await? {
            Some(forwarder) => instance::subscribe(&self.shared.log, forwarder, false).await,
            None => Ok(()),
        }
    }

    /// Begins to forward a function's output. The outbox has its subscription since before the function was.
    ///
    /// # Errors
    /// The cluster is not known.
    pub(super) async fn open_outbox(&self, spec: &FunctionSpec) -> Result<Option<Keeper>> {
        let forwarder = self.forwarder(spec).await?;
        Ok(forwarder.map(|forwarder| Keeper::start(self.shared.around.clone(), wanted(forwarder), false)))
    }

    /// When something of a function changes, or it starts: the cluster may be somewhere else now.
    pub(super) async fn put_outbox(&self, function: &Function, spec: &FunctionSpec) {
        let Some(outbox) = &function.outbox else { return };
        let Some(now) = outbox.spec() else { return };
        match self.forwarder(spec).await {
            Ok(Some(next)) if next.user_config != now.user_config => {
                outbox.want(wanted(FunctionSpec { version: now.version + 1, ..next }));
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(function = spec.fqfn(), %error, "its output is forwarded to where it was"),
        }
    }

    /// After the last instance of a deleted function has ended: empties its outbox, and forgets it.
    pub(super) async fn close_outbox(&self, function: &Function, spec: &FunctionSpec) {
        if let Err(why) = self.empty_outbox(function, spec).await {
            tracing::warn!(
                function = spec.fqfn(),
                outbox = spec.output.topic,
                subscription = SUBSCRIPTION,
                %why,
                "outputs of a deleted function are still in its outbox; a pulsar sink with this subscription forwards them"
            );
        }
    }

    async fn empty_outbox(&self, function: &Function, spec: &FunctionSpec) -> Result<()> {
        let opened;
        let keeper = match &function.outbox {
            Some(keeper) => keeper,
            // A deletion that an earlier process did not finish.
            None => {
                opened = self.open_outbox(spec).await?;
                let Some(keeper) = &opened else { return Ok(()) };
                keeper
            }
        };
        let reads = keeper.spec().and_then(|forwarder| forwarder.reads());
        let Some(reads) = reads else { return Err(Error::Closed("it is closed".to_owned())) };
        let drained = self.drain(&reads).await;
        keeper.close().await;
        drained?;
        for (outbox, _) in &reads.topics {
            self.unsubscribe_from(outbox, false, &reads.subscription).await?;
        }
        Ok(())
    }

    async fn drain(&self, reads: &Reads) -> Result<()> {
        let deadline = tokio::time::Instant::now() + DRAIN.0;
        loop {
            let waiting = self.shared.log.input_stats(reads).await?.map_or(0, |stats| stats.backlog);
            if waiting == 0 {
                return Ok(());
            }
            if tokio::time::Instant::now() >= deadline {
                return Err(Error::TimedOut(format!("{waiting} messages wait")));
            }
            tokio::time::sleep(DRAIN.1).await;
        }
    }

    /// How forwarding a function's output goes; `None` where it is here.
    pub(super) fn outbox_status(&self, function: &Function) -> Option<OutboxStatus> {
        let spec = function.keeper.as_ref().ok()?.spec()?;
        let (there, topic) = (spec.elsewhere.clone()?, spec.output.topic.clone()?);
        let status = self.of_sink(function.outbox.as_ref()?.status(0));
        Some(OutboxStatus { cluster: there.cluster, output: there.topic, topic, forwarder: status })
    }
}

fn wanted(forwarder: FunctionSpec) -> Wanted {
    Wanted { spec: Arc::new(forwarder), instances: vec![Slot::default()] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn split(options: &str) -> (Option<String>, Option<String>) {
        option(Some(options.to_owned())).unwrap()
    }

    #[test]
    fn the_cluster_is_taken_out_of_what_the_runtime_is_told() {
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(split(r#"{"outputCluster": "eu"}"#), (text("eu"), None));
        assert_eq!(
            split(r#"{"outputCluster": "eu", "protocol": "binary"}"#),
            (text("eu"), text(r#"{"protocol":"binary"}"#))
        );
        for other in [r#"{"protocol": "binary"}"#, "not JSON", "[]", ""] {
            assert_eq!(split(other), (None, text(other)), "it is the runtime's");
        }
        assert_eq!(option(None).unwrap(), (None, None));
        for wrong in [r#"{"outputCluster": 7}"#, r#"{"outputCluster": ""}"#] {
            let error = option(text(wrong)).unwrap_err().to_string();
            assert!(error.contains("customRuntimeOptions: outputCluster: the name of a cluster is wanted"), "{error}");
        }
    }

    #[test]
    fn outputs_wait_here_and_go_there() {
        let spec = elsewhere("eu".to_owned(), testing::spec("f")).unwrap();
        assert_eq!(spec.output.topic.as_deref(), Some("persistent://public/default/f-outbox"));
        let there = spec.elsewhere.clone().unwrap();
        assert_eq!((&there.cluster[..], &there.topic[..]), ("eu", "persistent://public/default/out"));
        for name in ["out", "public/default/out", "persistent://public/default/out"] {
            assert!(spec.is_elsewhere(name) && !testing::spec("f").is_elsewhere(name), "{name}");
        }
        for name in ["other", "", "default/out", "public/other/out", "non-persistent://public/default/out"] {
            assert!(!spec.is_elsewhere(name), "{name}");
        }
        let forwarder = forwarder(&spec, "persistent://public/default/f-outbox", &there, "pulsar://eu:6650");
        assert_eq!(forwarder.user_config["topic"], "persistent://public/default/out");
        assert_eq!(forwarder.id, spec.id);
    }

    #[test]
    fn what_cannot_be_elsewhere_is_refused() {
        let refused = |cluster: &str, spec: FunctionSpec| elsewhere(cluster.to_owned(), spec).unwrap_err().to_string();
        let go = FunctionSpec { language: Language::Go, ..testing::spec("f") };
        assert!(refused("eu", go).contains("publishes by itself"));
        let silent = FunctionSpec { output: Default::default(), ..testing::spec("f") };
        assert!(refused("eu", silent).contains("no output"));
        assert!(refused("standalone", testing::spec("f")).contains("is this cluster"));
    }
}
