//! Who writes what who reads: what functions do to each other follows from their topics.

use std::collections::{BTreeMap, BTreeSet};

use crate::{FunctionSpec, event_log::topics_matching};

/// For each of these functions, which others write what it reads, by their place. One that writes what it reads itself is no
/// reason for anything.
pub(super) fn upstream(functions: &[&FunctionSpec]) -> Vec<Vec<usize>> {
    let mut writers: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (place, function) in functions.iter().enumerate() {
        if let Some(topic) = &function.output.topic {
            writers.entry(topic).or_default().push(place);
        }
    }
    let parsed: Vec<(model::TopicName, &Vec<usize>)> =
        writers.iter().filter_map(|(topic, writers)| Some((topic.parse().ok()?, writers))).collect();
    let of = |(place, function): (usize, &&FunctionSpec)| {
        let mut found = BTreeSet::new();
        for (topic, input) in &function.inputs {
            if !input.is_pattern {
                found.extend(writers.get(topic.as_str()).into_iter().flatten());
            } else if let Ok(pattern) = topics_matching(topic, &function.subscription) {
                let matching = parsed.iter().filter(|(topic, _)| pattern.is_match(topic));
                found.extend(matching.flat_map(|(_, writers)| writers.iter()));
            }
        }
        found.into_iter().filter(|writer| *writer != place).collect()
    };
    functions.iter().enumerate().map(of).collect()
}

/// Those that `is_awake`, and all that is downstream of one that is.
pub(super) fn concerned(upstream: &[Vec<usize>], is_awake: impl Fn(usize) -> bool) -> Vec<bool> {
    let mut concerned: Vec<bool> = (0..upstream.len()).map(is_awake).collect();
    loop {
        let reached =
            |(place, of): (usize, &Vec<usize>)| !concerned[place] && of.iter().any(|writer| concerned[*writer]);
        let more: Vec<usize> =
            upstream.iter().enumerate().filter(|one| reached(*one)).map(|(place, _)| place).collect();
        if more.is_empty() {
            return concerned;
        }
        more.into_iter().for_each(|place| concerned[place] = true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        spec::{InputConfig, OutputConfig},
        testing,
    };

    fn function(input: &str, output: Option<&str>) -> FunctionSpec {
        let topic = |local: &str| format!("persistent://public/default/{local}");
        let is_pattern = input.contains('*');
        let name = if is_pattern { format!("public/default/{input}") } else { topic(input) };
        FunctionSpec {
            inputs: [(name, InputConfig { is_pattern, ..InputConfig::default() })].into(),
            output: OutputConfig { topic: output.map(topic), ..OutputConfig::default() },
            ..testing::spec("f")
        }
    }

    #[test]
    fn edges_follow_from_topics_and_patterns() {
        let all = [
            function("a", Some("b")),
            function("b", Some("b")),
            function("b.*", None),
            function("x", Some("bb")),
            function("y", Some("z")),
        ];
        let all: Vec<&FunctionSpec> = all.iter().collect();
        let upstream = upstream(&all);
        assert_eq!(upstream, [vec![], vec![0], vec![0, 1, 3], vec![], vec![]]);
        assert_eq!(concerned(&upstream, |place| place == 0), [true, true, true, false, false]);
        assert_eq!(concerned(&upstream, |place| place == 4), [false, false, false, false, true]);
    }
}
