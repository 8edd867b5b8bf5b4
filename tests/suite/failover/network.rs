//! What is between the service and its database is not trusted.

use std::net::TcpListener;
use std::process::{Command, Stdio};

use store::connect::TransportError;
use store::pool::PoolsError;
use store::{Databases, Transport};
use tests::binary::safeconduct;
use tests::cluster::{pool_sizes, runtime, scratch};

use super::ground::{Pair, url};

const ROLE: &str = "safeconduct_service";

/// Why there is no session; nothing if there is one. A pool comes to the same.
fn refusal(transport: &Transport, url: &str) -> Option<String> {
    let databases = Databases::new(transport, |_| url.parse().unwrap(), pool_sizes()).unwrap();
    runtime().block_on(async {
        let (session, pooled) = (databases.session().await, databases.read().await);
        assert_eq!(session.is_ok(), pooled.is_ok());
        session.err().map(|error| format!("{error:?}"))
    })
}

#[test]
fn only_the_server_that_the_url_means_is_spoken_to() {
    let pair = Pair::alone();
    let (transport, good) = (pair.transport(), url(ROLE, &[&pair.a]));
    let refused = |transport: &Transport, url: &str, why: &str| {
        let error = refusal(transport, url).unwrap_or_else(|| panic!("{url} was not refused"));
        assert!(error.contains(why), "{error}");
    };
    assert_eq!(refusal(&transport, &good), None);
    // What a URL says makes it no weaker.
    assert_eq!(refusal(&transport, &format!("{good}?sslmode=disable&channel_binding=disable")), None);
    refused(&transport, &good.replace("of-safeconduct", "of-somebody"), "E28P01");
    refused(&transport, &good.replace("localhost", "127.0.0.1"), "NotValidForName");
    pair.a.sh("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -subj /CN=x -keyout x.key -out x.crt");
    let strange = std::fs::read(pair.ca().with_file_name("../x.crt")).unwrap();
    refused(&Transport::tls(&strange).unwrap(), &good, "UnknownIssuer");
    assert!(matches!(Transport::tls(b"no certificate"), Err(TransportError::NoRoots)));
    let plain = Databases::new(&Transport::Sockets, |_| good.parse().unwrap(), pool_sizes());
    assert!(
        matches!(plain, Err(PoolsError::Transport(TransportError::PlainText { host })) if host == "localhost")
    );

    // A host that says nothing does not keep the other from being found.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    assert_eq!(refusal(&transport, &good.replace('@', &format!("@localhost:{port},"))), None);

    // A server that lets everybody in, or asks for the password itself, proves nothing about itself.
    let access = |kind: &str, method: &str| {
        pair.a.sh(&format!(
            "echo '{kind} all all all {method}' >\"$DATA/pg_hba.conf\"; pg_ctl -D \"$DATA\" reload"
        ));
    };
    access("hostssl", "trust");
    tests::wait::until("a refusal", || refusal(&transport, &good).is_some());
    refused(&transport, &good, "server did not use channel binding");
    access("hostssl", "password");
    refused(&transport, &good, "server did not use channel binding");
    // In plain text only where that was said.
    access("host", "scram-sha-256");
    tests::wait::until("plain text", || refusal(&Transport::PlainText, &good).is_none());
    let demanded = format!("{good}?sslmode=require");
    let both = Databases::new(&Transport::PlainText, |_| demanded.parse().unwrap(), pool_sizes());
    assert!(matches!(both, Err(PoolsError::Transport(TransportError::TlsDemanded))));
    pair.a.sh("echo 'ssl = off' >>\"$DATA/ledger.conf\"; pg_ctl -D \"$DATA\" reload");
    tests::wait::until("a server without TLS", || refusal(&transport, &good).is_some());
    refused(&transport, &good, "does not support TLS");
}

#[test]
fn the_program_refuses_plain_text_unless_told_so() {
    let data = scratch("plain").join("data");
    std::fs::create_dir(&data).unwrap();
    let serve = |more: &[&str]| {
        let output = Command::new(safeconduct())
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(&data)
            .args(more)
            .env("SAFECONDUCT_SERVICE_PASSPHRASE", "only for this test")
            .env(
                "SAFECONDUCT_DATABASE_URL",
                "postgresql://safeconduct_service:secret@localhost:1/safeconduct",
            )
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let said = serve(&[]);
    assert!(said.contains("--database-ca") && said.contains("--allow-plain-text"), "{said}");
    assert!(!said.contains("secret"), "{said}");
    // Told so, it gets as far as nobody's answering.
    let said = serve(&["--allow-plain-text"]);
    assert!(said.contains("no connection to the database"), "{said}");
    let said = serve(&["--database-ca", "/nowhere"]);
    assert!(said.contains("/nowhere"), "{said}");
}
