//! Messages that were given up, and where they are then.

use functions::{
    FunctionSpec,
    event_log::topics_matching,
    runtime::{Effects, UserException},
    testing,
};
use model::InitialPosition;

use crate::support::{Did, Node, Script, texts, topic};

#[tokio::test(flavor = "multi_thread")]
async fn the_topic_has_a_usual_name_whatever_the_subscription_is_called() {
    // That which a function has where nothing is said, one that is given, and partitions of one topic.
    for (subscription, input, dead) in [
        ("public/default/f", "in", "in-public-default-f-DLQ"),
        ("mine", "in", "in-mine-DLQ"),
        ("a/b/c/d", "in-partition-1", "in-a-b-c-d-DLQ"),
    ] {
        let all = topics_matching("public/default/.*", subscription).unwrap();
        let is_read = |name: &str| !all.among([topic(name).parse().unwrap()].into_iter()).is_empty();
        assert!(is_read(input) && !is_read(dead), "by a pattern that matches both");
        let node = Node::start().await;
        if input != "in" {
            node.broker.create_partitioned_topic(&topic("in").parse().unwrap(), 2).await.unwrap();
        }
        node.publish(input, ["bad", "fine"]).await;
        let spec = FunctionSpec {
            subscription: subscription.to_owned(),
            initial_position: InitialPosition::Earliest,
            max_message_retries: Some(0),
            ..testing::spec("f")
        };
        let script = Script::each(|text| match text {
            "bad" => Did::All(Err(UserException { message: "ValueError".into() }), Effects::default()),
            _ => Did::Returned(text.to_owned()),
        });
        let instance = node.run(spec, script);
        assert_eq!(texts(&node.read(dead, 1).await), ["bad"]);
        assert_eq!(texts(&node.read("out", 1).await), ["fine"]);
        node.acknowledged(input, subscription).await;
        let status = instance.status();
        assert_eq!((status.user_exceptions, status.system_exceptions, status.restarts), (1, 0, 0), "{status:?}");
    }
}
