//! A witness that starts again: its memory is its own, whatever the home followed meanwhile.

use super::*;

/// What a start says that must fail.
fn refused(home: &Path) -> String {
    let arguments = ["60", safeconduct().to_str().unwrap(), "--home", home.to_str().unwrap(), "witness"];
    let mut command = Command::new("timeout");
    command.args(arguments).args(["--listen", "127.0.0.1:0"]).env("SAFECONDUCT_PASSPHRASE", PASSPHRASE);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn what_was_cosigned_is_not_replaced_by_what_the_home_follows() {
    let world = World::new();
    let dir = scratch("restarted").join("ada");
    home(&world, &dir);
    let (histories, size) = Histories::of(&world, 60);
    let witness = Witness::start(&dir, Statement::Consistent);
    assert!(witness.cosigns(&histories.request(0, 0, size)));
    assert!(witness.cosigns(&histories.request(0, size, size + 10)));
    witness.kill();

    // The home was behind, and is shown the other history: it extends what the home knows.
    let follow = |which, at| fs::write(dir.join("checkpoint"), histories.request(which, size, at).note);
    follow(1, size + 20).unwrap();
    let witness = Witness::start(&dir, Statement::Consistent);
    let (status, says) = witness.ask(&histories.request(1, size + 20, size + 30)).unwrap();
    assert_eq!((status, says), (409, format!("{}\n", size + 10)));
    assert_eq!(witness.ask(&histories.request(1, size + 10, size + 30)).unwrap().0, 422);
    // Nor what extends its own memory: this home has verified another log.
    assert_eq!(witness.ask(&histories.request(0, size + 10, size + 20)).unwrap().0, 422);
    witness.kill();

    // Of one size both are known, so that there are two histories.
    follow(1, size + 10).unwrap();
    let said = refused(&dir);
    assert!(said.contains("ALARM") && said.contains("evidence"), "{said}");
    let evidence = fs::read_dir(dir.join("evidence")).unwrap();
    let evidence: Vec<String> =
        evidence.map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap()).collect();
    for which in [0, 1] {
        assert!(evidence.contains(&histories.request(which, size, size + 10).note), "{evidence:?}");
    }
    follow(0, size + 10).unwrap();
    let witness = Witness::start(&dir, Statement::Consistent);
    assert!(witness.cosigns(&histories.request(0, size + 10, size + 20)));
}
