//! Each law of `docs/laws.md` has a test that is named after it, and each test that is named after a law names one
//! that the page has.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// What a test's name begins with, for each group of laws: all policies, breaker, retry, timeout, bulkhead, rate
/// limiter, fallback, pipeline, deadline, HTTP, keyed, settings.
const GROUPS: &str = "gbrtklfpqwyc";

/// What a list of scenarios begins with. A macro makes each of them two tests, of the scenario's name.
const LISTS: [&str; 2] = ["both_ways! {", "on_real_sockets! {"];

#[test]
fn every_law_has_a_test_and_no_test_names_a_law_that_is_not_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let laws = laws(&read(&root.join("docs/laws.md")));
    let names: Vec<String> = ["src", "tests"]
        .iter()
        .flat_map(|folder| rust_files(&root.join(folder)))
        .flat_map(|file| test_names(&read(&file)))
        .collect();
    // If nothing were read, nothing would be compared, and the test would pass.
    assert!(laws.len() >= 20, "docs/laws.md has only {} laws", laws.len());
    assert!(names.len() >= 200, "the folders have only {} tests", names.len());

    let faults = faults(&laws, &names);
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn a_law_without_a_test_is_told() {
    let laws = laws("- **G1 Drop.** A slot returns.\n- **R10 More.** Text, as in\n  - a list\n");
    let names = ["g1_a_slot_returns".into(), "r1".into(), "r100_is_another".into()];
    assert_eq!(
        faults(&laws, &names),
        ["R10 has no test: no name begins with `r10_`", "`r100_is_another` names R100, which is not in docs/laws.md"]
    );
}

#[test]
fn a_test_may_name_several_laws() {
    assert_eq!(laws_named_by("g1_b12_nothing_is_left_of_b4_calls").collect::<Vec<_>>(), ["G1", "B12"]);
    for named_after_none in ["half_open", "g1", "g_1", "b_1_", "b4x_", "x1_", "_b1_"] {
        assert_eq!(laws_named_by(named_after_none).next(), None, "{named_after_none}");
    }
}

#[test]
fn tests_are_read_in_all_their_forms() {
    let source = [
        "#[test] fn k1_on_one_line() {}",
        "    #[test]",
        "    fn b1_plain() {}",
        "    fn b2_is_only_a_helper() {}",
        "#[tokio::test(start_paused = true)]",
        "#[should_panic(expected = \"fn g1_in_a_text()\")]",
        "/// Says why: fn g2_in_a_comment().",
        "async fn b3_awaits() {}",
        "// #[test]",
        "// fn b4_is_commented_out() {}",
        "both_ways! {",
        "    r1_is_listed,",
        "    // r2_is_commented_out,",
        "    r3_is_listed_too, r4_is_last",
        "}",
        "both_ways! { r5_is_on_one_line }",
        "on_real_sockets! {",
        "    t1_is_told_more_of: PATIENT => outage(Fault::Drips(ms(20)), TimedOut),",
        "}",
        "async fn r6_is_no_longer_listed(way: Way) {}",
    ];
    let read = test_names(&source.join("\n"));
    let functions = ["k1_on_one_line", "b1_plain", "b3_awaits"];
    let scenarios = ["r1_is_listed", "r3_is_listed_too", "r4_is_last", "r5_is_on_one_line", "t1_is_told_more_of"];
    assert_eq!(read, [&functions[..], &scenarios].concat());
}

/// One sentence for each law that no test holds, and for each test that holds no law.
fn faults(laws: &BTreeSet<String>, names: &[String]) -> Vec<String> {
    let held: BTreeSet<String> = names.iter().flat_map(|name| laws_named_by(name)).collect();
    let without_test =
        laws.difference(&held).map(|law| format!("{law} has no test: no name begins with `{}_`", law.to_lowercase()));
    let without_law = names.iter().flat_map(|name| {
        let unknown = laws_named_by(name).filter(|law| !laws.contains(law));
        unknown.map(move |law| format!("`{name}` names {law}, which is not in docs/laws.md"))
    });
    without_test.chain(without_law).collect()
}

/// The laws of the page: what its items `- **B4 Open.** ..` begin with.
fn laws(page: &str) -> BTreeSet<String> {
    let mut laws = BTreeSet::new();
    for item in page.lines().filter_map(|line| line.strip_prefix("- **")) {
        let law = item.split([' ', '*', '.']).next().unwrap_or_default();
        assert!(is_law(&law.to_lowercase()), "an item of docs/laws.md begins with `{law}`, which is no name of a law");
        assert!(laws.insert(law.to_owned()), "{law} is twice in docs/laws.md");
    }
    laws
}

/// The laws that a test's name begins with: `g1_g2_nothing_is_left` names G1 and G2.
fn laws_named_by(name: &str) -> impl Iterator<Item = String> {
    // What follows the last underscore is no prefix.
    let prefixes = name.rsplit_once('_').map_or("", |(prefixes, _)| prefixes);
    prefixes.split('_').take_while(|prefix| is_law(prefix)).map(str::to_uppercase)
}

fn is_law(prefix: &str) -> bool {
    let number = prefix.strip_prefix(|group| GROUPS.contains(group));
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The names of the functions below `#[test]` or `#[tokio::test]`, and of those that the macros of `LISTS` write. It
/// reads lines, as rustfmt leaves them.
fn test_names(source: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut next_is_a_test = false;
    let mut in_list = false;
    for line in source.lines().map(str::trim).filter(|line| !line.starts_with("//")) {
        let begins = LISTS.iter().find_map(|list| line.strip_prefix(list));
        if let Some(listed) = begins.or(in_list.then_some(line)) {
            in_list = !listed.contains('}');
            names.extend(listed.split(['}', ',']).filter_map(listed_name).map(str::to_owned));
            continue;
        }
        next_is_a_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        // Other attributes may stand between.
        let item = line.strip_prefix("#[test]").unwrap_or(line).trim_start();
        let function = item.strip_prefix("async ").unwrap_or(item).strip_prefix("fn ");
        if let Some(function) = function.filter(|_| next_is_a_test) {
            next_is_a_test = false;
            names.extend(function.split(['(', '<']).next().map(str::to_owned));
        }
    }
    names
}

/// The `name` of `name` or of `name: what it does`.
fn listed_name(entry: &str) -> Option<&str> {
    let name = entry.split(':').next()?.trim();
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_name.then_some(name)
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.expect("an entry of a folder that can be read").path());
    paths
        .flat_map(|path| match path.extension() {
            _ if path.is_dir() => rust_files(&path),
            Some(extension) if extension == "rs" => vec![path],
            _ => Vec::new(),
        })
        .collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
