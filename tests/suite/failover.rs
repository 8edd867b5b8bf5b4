//! An external PostgreSQL, a primary with a synchronous standby: what was acknowledged survives the primary, an old one that
//! comes back is left alone, and what is on no standby is not signed. The commands are those of
//! `docs/operating/replication.md`.

pub mod ground;
mod network;
mod patroni;
mod primary;
mod unknown;

/// The page's settings for Patroni say nothing else than those that the tests run with.
#[test]
fn patroni_is_given_the_same_settings() {
    let patroni = &*ground::commands("The settings of Patroni");
    let commands = ground::commands("The settings of a server");
    let (settings, access) = commands.split_once("END\ncat").unwrap();
    let bare = |value: &str| value.trim().trim_matches('\'').to_owned();
    // Patroni sets these itself, by other names.
    let own = ["cluster_name", "listen_addresses", "port", "synchronous_standby_names"];
    let mut compared = 0;
    for (name, value) in settings.lines().filter_map(|line| line.split_once(" = ")) {
        if own.contains(&name) {
            continue;
        }
        let line = patroni.lines().find_map(|line| line.trim().strip_prefix(&format!("{name}: ")));
        assert_eq!(line.map(bare), Some(bare(value)), "{name}");
        compared += 1;
    }
    assert!(compared > 9, "{compared}");
    let rules = |text: &str| -> Vec<String> {
        let lines = text.lines().map(|line| line.trim().trim_start_matches("- "));
        lines
            .filter(|line| line.starts_with("local ") || line.starts_with("hostssl "))
            .map(str::to_owned)
            .collect()
    };
    // Patroni has one more role.
    let mut of_patroni = rules(patroni);
    of_patroni.retain(|rule| !rule.contains(" rewinder "));
    assert_eq!(of_patroni, rules(access));
    assert_eq!(rules(access).len(), 4);
}
