//! What `consumerProperties` mean: fields of Pulsar's `ConsumerConfigurationData`, which its instances load them into as texts.
//!
//! A client of Java's has many that an instance here has no use for; these are known and named, so that nobody waits for what they do.

use super::consumer::ConsumerConfig;
use crate::InitialPosition;
use std::{str::FromStr, time::Duration};

/// The shortest time until a message that failed comes again. Source: Pulsar's `NegativeAcksTracker`.
const REDELIVERY_DELAY_MIN: Duration = Duration::from_millis(100);

/// Known, and without an effect here.
const WITHOUT_EFFECT: [&str; 35] = [
    "topicNames",
    "topicsPattern",
    "subscriptionName",
    "subscriptionType",
    "subscriptionProperties",
    "subscriptionMode",
    "acknowledgementsGroupTimeMicros",
    "maxAcknowledgmentGroupSize",
    "negativeAckPrecisionBitCnt",
    "negativeAckRedeliveryBackoff",
    "ackTimeoutRedeliveryBackoff",
    "maxTotalReceiverQueueSizeAcrossPartitions",
    "ackTimeoutMillis",
    "tickDurationMillis",
    "priorityLevel",
    "maxPendingChunkedMessage",
    "maxPendingChuckedMessage",
    "autoAckOldestChunkedMessageOnQueueFull",
    "expireTimeOfIncompleteChunkedMessageMillis",
    "cryptoFailureAction",
    "properties",
    "readCompacted",
    "patternAutoDiscoveryPeriod",
    "regexSubscriptionMode",
    "deadLetterPolicy",
    "retryEnable",
    "autoUpdatePartitions",
    "autoUpdatePartitionsIntervalSeconds",
    "replicateSubscriptionState",
    "resetIncludeHead",
    "keySharedPolicy",
    "batchIndexAckEnabled",
    "ackReceiptEnabled",
    "startPaused",
    "autoScaledReceiverQueueSizeEnabled",
];

/// What properties ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumerProperties {
    /// Until a message that failed comes again: `negativeAckRedeliveryDelayMicros`, and `negativeAckRedeliveryDelayMs`, which many write.
    pub redelivery_delay: Option<Duration>,
    /// `receiverQueueSize`.
    pub receiver_queue_size: Option<i32>,
    /// `consumerName`.
    pub consumer_name: Option<String>,
    /// `subscriptionInitialPosition`.
    pub initial_position: Option<InitialPosition>,
    /// Names of those that have no effect here.
    pub without_effect: Vec<String>,
    /// Names of those that nobody knows; Pulsar's instances pass over them.
    pub unknown: Vec<String>,
}

impl ConsumerConfig {
    /// What its properties ask for.
    ///
    /// # Errors
    /// The name of each whose value makes no sense, with why.
    pub fn properties(&self) -> Result<ConsumerProperties, Vec<(String, String)>> {
        let (mut read, mut wrong) = (ConsumerProperties::default(), Vec::new());
        for (name, value) in &self.consumer_properties {
            let result = match name.as_str() {
                "negativeAckRedeliveryDelayMicros" => delay(value, 1).map(|delay| read.redelivery_delay = Some(delay)),
                "negativeAckRedeliveryDelayMs" => delay(value, 1000).map(|delay| read.redelivery_delay = Some(delay)),
                "receiverQueueSize" => whole(value).map(|size: u16| read.receiver_queue_size = Some(size.into())),
                "consumerName" => {
                    read.consumer_name = Some(value.clone());
                    Ok(())
                }
                "subscriptionInitialPosition" => match value.trim() {
                    "Latest" | "0" => Ok(InitialPosition::Latest),
                    "Earliest" | "1" => Ok(InitialPosition::Earliest),
                    _ => Err(format!("must be Latest or Earliest, found {value:.80}")),
                }
                .map(|position| read.initial_position = Some(position)),
                known if WITHOUT_EFFECT.contains(&known) => {
                    read.without_effect.push(name.clone());
                    Ok(())
                }
                _ => {
                    read.unknown.push(name.clone());
                    Ok(())
                }
            };
            if let Err(why) = result {
                wrong.push((name.clone(), why));
            }
        }
        if wrong.is_empty() { Ok(read) } else { Err(wrong) }
    }
}

fn delay(value: &str, micros: u64) -> Result<Duration, String> {
    let count: u64 = whole(value)?;
    Ok(Duration::from_micros(count.saturating_mul(micros)).max(REDELIVERY_DELAY_MIN))
}

fn whole<N: FromStr>(value: &str) -> Result<N, String> {
    value.trim().parse().map_err(|_| format!("must be a whole number that is not negative, found {value:.80}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<ConsumerProperties, Vec<(String, String)>> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        ConsumerConfig { consumer_properties: pairs.collect(), ..ConsumerConfig::default() }.properties()
    }

    #[test]
    fn what_has_an_effect_is_read_and_the_rest_is_named() {
        let all = read(&[
            ("negativeAckRedeliveryDelayMicros", "2500000"),
            ("receiverQueueSize", "10"),
            ("consumerName", "me"),
            ("subscriptionInitialPosition", "Earliest"),
            ("ackTimeoutMillis", "5000"),
            ("myOwn", "x"),
        ]);
        let expected = ConsumerProperties {
            redelivery_delay: Some(Duration::from_millis(2500)),
            receiver_queue_size: Some(10),
            consumer_name: Some("me".into()),
            initial_position: Some(InitialPosition::Earliest),
            without_effect: vec!["ackTimeoutMillis".into()],
            unknown: vec!["myOwn".into()],
        };
        assert_eq!(all, Ok(expected));
        let delay = |name, value| read(&[(name, value)]).unwrap().redelivery_delay.unwrap();
        assert_eq!(delay("negativeAckRedeliveryDelayMs", "300"), Duration::from_millis(300));
        assert_eq!(delay("negativeAckRedeliveryDelayMicros", "0"), REDELIVERY_DELAY_MIN);
        assert!(delay("negativeAckRedeliveryDelayMs", "18446744073709551615") > Duration::from_secs(1));
    }

    #[test]
    fn values_that_make_no_sense_are_all_told() {
        let wrong = read(&[
            ("negativeAckRedeliveryDelayMicros", "1s"),
            ("receiverQueueSize", "-1"),
            ("subscriptionInitialPosition", "Middle"),
        ]);
        let names: Vec<_> = wrong.unwrap_err().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["negativeAckRedeliveryDelayMicros", "receiverQueueSize", "subscriptionInitialPosition"]);
    }
}
