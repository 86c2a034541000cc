//! A manifest that means harm costs little and is refused in words.

use crate::{function, problems};
use std::time::{Duration, Instant};

/// The only lines there are of a text, in a moment.
fn quickly(yaml: &str) -> Vec<String> {
    let start = Instant::now();
    let told = problems(yaml).lines().map(str::to_owned).collect();
    // Hours and gigabytes without bounds; well below a second with them, on any machine.
    assert!(start.elapsed() < Duration::from_secs(30), "took {:?}", start.elapsed());
    told
}

#[test]
fn aliases_that_multiply_are_refused() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..30 {
        let before = format!("*a{}, ", level - 1).repeat(10);
        bomb += &format!("a{level}: &a{level} [{before}]\n");
    }
    let told = quickly(&bomb);
    assert!(told.len() == 1 && told[0].contains("more than 200000 values"), "{told:?}");
}

#[test]
fn long_texts_that_multiply_are_refused() {
    let text = "x".repeat(1 << 20);
    let bomb = format!("a: &a \"{text}\"\nb: [{}]\n", "*a, ".repeat(100));
    assert!(quickly(&bomb)[0].contains("bytes of text"));
}

#[test]
fn an_alias_of_what_is_around_it_is_told() {
    let told = quickly("a: &a [*a]\n");
    assert!(told.iter().any(|line| line.contains("itself part of") || line.contains("called")), "{told:?}");
}

#[test]
fn depth_is_bounded() {
    for deep in ["[".repeat(100_000), "- ".repeat(100_000), format!("{}x{}", "{a: ".repeat(5_000), "}".repeat(5_000))] {
        assert_eq!(quickly(&deep).len(), 1);
    }
    // By aliases, each of which is within the bound.
    let mut deep = "a0: &a0 [x]\n".to_owned();
    for level in 1..200 {
        deep += &format!("a{level}: &a{level} [*a{}]\n", level - 1);
    }
    assert!(quickly(&deep)[0].contains("deep"));
}

#[test]
fn size_is_bounded() {
    assert!(quickly(&"#".repeat(mesh::MANIFEST_BYTES_MAX + 1))[0].contains("longer than"));
    let many = (0..6_000)
        .map(|number| function(&format!("f{number}"), "input: {topics: [in]}"))
        .collect::<Vec<_>>()
        .join("---\n");
    assert!(quickly(&many).iter().any(|line| line.contains("more than 5000")));
}

#[test]
fn many_files_are_no_way_around_the_limits() {
    let quickly = |files: &[String]| {
        let start = Instant::now();
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        let (_, problems) = mesh::check(&files);
        assert!(start.elapsed() < Duration::from_secs(30), "took {:?}", start.elapsed());
        problems
            .into_iter()
            .map(|problem| problem.text)
            .filter(|text| text.contains("the manifest"))
            .collect::<Vec<_>>()
    };
    let half = "#".repeat(mesh::MANIFEST_BYTES_MAX / 2 + 1);
    assert_eq!(quickly(&[half.clone(), half.clone(), half]), ["the manifest is longer than 4194304 bytes"]);
    // Below the limit each.
    let bomb = format!("a: &a [{}]\nb: [{}]\n", "x, ".repeat(1000), "*a, ".repeat(100));
    let told = quickly(&vec![bomb.clone(); 100]);
    assert!(told.len() == 1 && told[0].contains("more than 200000 values"), "{told:?}");
    let told = quickly(&[format!("---\n{bomb}").repeat(100)]);
    assert!(told.len() == 1 && told[0].contains("more than 200000 values"), "{told:?}");
    let told = quickly(&vec!["--- ~\n".repeat(200); 100]);
    assert!(told.len() == 1 && told[0].contains("more than 10000 documents"), "{told:?}");
}

#[test]
fn what_is_named_for_later_weighs_too() {
    // Each level holds all that is within it.
    let mut nested = format!("[{}]", "x, ".repeat(20_000));
    for level in 0..50 {
        nested = format!("&a{level} [{nested}]");
    }
    let told = quickly(&format!("a: {nested}\n"));
    assert!(told.len() == 1 && told[0].contains("more than 200000 values"), "{told:?}");
}

#[test]
fn a_million_mistakes_are_told_in_a_few_hundred() {
    let unknown: String = (0..50_000).map(|number| format!("x{number}: 1\n")).collect();
    let told = quickly(&function("f", &unknown));
    assert!(told.len() <= 501 && told.last().unwrap().contains("more"), "{}", told.len());
}

#[test]
fn many_warnings_are_no_error_and_hide_none() {
    let many = (0..400)
        .map(|number| {
            function(
                &format!("f{number}"),
                &format!("input: {{topics: [in{number}]}}\noutput: {{topic: out{number}}}\nsourceType: x"),
            )
        })
        .collect::<Vec<_>>()
        .join("---\n");
    let told = quickly(&many);
    assert!(told.iter().all(|line| line.contains(": warning: ")), "{:?}", told.last());
    assert!(told.last().unwrap().ends_with("warning: and 700 more"), "{:?}", told.last());
    let told = quickly(&many.replace("name: f399", "name: f0"));
    assert!(
        told.iter().any(|line| line.contains(": error: function public/default/f0 is here a second time")),
        "{told:?}"
    );
}

#[test]
fn mistakes_cannot_steer_a_terminal() {
    for line in quickly(&function("f", "\"\\e[2J\\nkind\": 1\ninput: {topics: [\"\\e[2J\"]}")) {
        assert!(!line.contains('\u{1b}'), "{line:?}");
    }
}

#[test]
fn a_pattern_that_would_explode_is_passed_over() {
    let told =
        quickly(&function("f", "input: {topicPattern: 'persistent://public/default/(((a{100}){100}){100}){100}'}"));
    assert!(told.is_empty(), "{told:?}");
}

#[test]
fn names_given_twice_by_merges_cost_what_they_weigh() {
    let names: String = (0..20_000).map(|number| format!("n{number}: 1, ")).collect();
    let told = quickly(&format!("a: &a {{{names}}}\nb: {{<<: [*a, *a, *a], {names}}}\n"));
    assert_eq!(told.len(), 1, "{told:?}");
}
