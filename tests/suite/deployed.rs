//! `config/systemd` and `config/container`: what systemd says of the unit, and that the program does what they ask of it.

use std::fs::{self, DirBuilder, File};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::DirBuilderExt as _;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tests::binary::{root, safeconduct};
use tests::cluster::scratch;

/// The unit, as it would be installed, but with the program where it was built.
fn unit() -> std::path::PathBuf {
    let text = fs::read_to_string(root().join("config/systemd/safeconduct.service")).unwrap();
    let installed = "ExecStart=/usr/bin/safeconduct ";
    assert_eq!(text.matches(installed).count(), 1);
    let path = scratch("unit").join("safeconduct.service");
    let built = format!("ExecStart={} ", safeconduct().display());
    fs::write(&path, text.replace(installed, &built)).unwrap();
    path
}

fn analyze(arguments: &[&str]) -> (bool, String) {
    let output = Command::new("systemd-analyze").args(arguments).arg(unit()).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[test]
fn systemd_takes_the_unit_and_finds_it_confined() {
    let (is_valid, said) = analyze(&["verify", "--man=no"]);
    assert!(is_valid && !said.contains("safeconduct.service"), "{said}");
    // Of 10; without any confinement it is 9.6. What is left is the network and the machine's own root directory.
    let (is_confined, said) = analyze(&["security", "--offline=true", "--threshold=15", "--no-pager"]);
    assert!(is_confined, "{said}");
    let (is_perfect, _) = analyze(&["security", "--offline=true", "--threshold=5", "--no-pager"]);
    assert!(!is_perfect, "the threshold is not looked at");
}

/// The arguments that the unit starts the service with.
fn unit_arguments() -> Vec<String> {
    let text = fs::read_to_string(root().join("config/systemd/safeconduct.service")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/safeconduct ")).unwrap();
    line.split(' ').map(str::to_owned).collect()
}

#[test]
fn the_unit_s_command_starts_with_a_credential() {
    let scratch = scratch("credential");
    let credentials = scratch.join("credentials");
    DirBuilder::new().mode(0o700).create(&credentials).unwrap();
    let data = scratch.join("data").display().to_string();
    // As `systemd-creds`, an editor or `echo` writes it: with a line feed, which is no part of it.
    fs::write(credentials.join("safeconduct-passphrase"), "correct horse battery staple\n").unwrap();
    let arguments = unit_arguments().into_iter().map(|argument| match argument.as_str() {
        "/var/lib/safeconduct" => data.clone(),
        "127.0.0.1:8080" | "127.0.0.1:9464" => "127.0.0.1:0".to_owned(),
        "${PUBLIC_URL}" => "https://ledger.example".to_owned(),
        _ => argument,
    });
    let arguments: Vec<String> = arguments.collect();
    let start = |with_environment: bool| {
        let mut command = Command::new(safeconduct());
        command.args(&arguments).env_remove("SAFECONDUCT_SERVICE_PASSPHRASE");
        if with_environment {
            command.env("SAFECONDUCT_SERVICE_PASSPHRASE", "correct horse battery staple");
        } else {
            command.env("CREDENTIALS_DIRECTORY", &credentials);
        }
        let log = scratch.join("service.log");
        let log_file = File::create(&log).unwrap();
        let mut service =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log_file).spawn().unwrap();
        let mut lines = BufReader::new(service.stdout.take().unwrap()).lines().map_while(Result::ok);
        let is_ready = lines.any(|line| line == "ready");
        let pid = Pid::from_raw(service.id().try_into().unwrap()).unwrap();
        let _ = kill_process(pid, Signal::TERM);
        let status = service.wait().unwrap();
        (is_ready && status.success(), fs::read_to_string(log).unwrap())
    };
    // The first start makes the keys, the second opens them: both read the same passphrase.
    for with_environment in [false, true, false] {
        let (is_ready, log) = start(with_environment);
        assert!(is_ready, "{log}");
    }
    fs::remove_file(credentials.join("safeconduct-passphrase")).unwrap();
    let (is_ready, _) = start(false);
    assert!(!is_ready, "it starts without its passphrase");
}

fn serve_help() -> String {
    let output = Command::new(safeconduct()).args(["serve", "--help"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// The unit shows the service a read-only system and this machine alone, so whoever gives a flag that leads to somewhere
/// else has to know what to open for it.
#[test]
fn what_a_flag_needs_of_the_confinement_is_told() {
    let told = fs::read_to_string(root().join("docs/operating/deploy.md")).unwrap();
    let help = serve_help();
    let values = ["<DIR>", "<FILE>", "<URI>", "<URL>", "<NAME=URL>"];
    let of_flags = help.lines().filter_map(|line| line.trim().split_once(' '));
    let lead_elsewhere = of_flags.filter(|(flag, value)| flag.starts_with("--") && values.contains(value));
    let flags: Vec<&str> = lead_elsewhere.map(|(flag, _)| flag).collect();
    assert!(flags.contains(&"--archive") && flags.contains(&"--otlp"), "{flags:?}");
    // A person's home is nothing to a service, and PostgreSQL's programs are where the whole system may be read.
    let of_no_account = ["--home", "--postgres-bin"];
    let of_the_unit = unit_arguments();
    for flag in flags.iter().filter(|flag| !of_no_account.contains(flag)) {
        // The database's URLs hold passwords, and are given in the environment.
        let variable =
            format!("SAFECONDUCT_{}", flag.trim_start_matches("--").replace('-', "_").to_uppercase());
        let is_told = [format!("`{flag}`"), format!("`{variable}=")].iter().any(|name| told.contains(name));
        assert!(is_told || of_the_unit.iter().any(|given| given == flag), "what does {flag} need?");
    }
}

#[test]
fn the_container_has_what_the_build_and_the_program_ask_for() {
    let file = fs::read_to_string(root().join("config/container/Containerfile")).unwrap();
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let version = manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap();
    assert!(file.contains(&format!("library/rust:{}-", version.trim_matches('"'))), "another toolchain");
    let command = file.lines().find_map(|line| line.strip_prefix("CMD ")).unwrap();
    let arguments: Vec<String> = serde_json::from_str(command).unwrap();
    let help = serve_help();
    assert_eq!(arguments[0], "serve");
    for flag in arguments.iter().chain(&unit_arguments()).filter(|argument| argument.starts_with("--")) {
        assert!(help.contains(&format!("{flag} <")), "serve has no {flag}");
    }
}
