//! Two servers that Patroni leads, over etcd: nobody else promotes, and nobody else makes a standby of what comes back.

use std::fs::{self, File};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use store::register;
use tests::cluster::say;
use tests::wait::until;

use super::ground::{Pair, Server, free_port, password};
use super::primary::{Seen, goes_on, ledger_over, trace};

/// In it Patroni tells etcd at least once how far the primary's log is: the page's `loop_wait`, and a second.
const TOLD: Duration = Duration::from_secs(6);

/// A program in the background. It is asked to end when this is dropped, and when the thread that started it ends in
/// whatever way; Patroni stops its PostgreSQL then.
struct Daemon(Option<Child>);

impl Daemon {
    fn start(command: &mut Command) -> Daemon {
        Daemon(Some(command.spawn().expect("setpriv runs")))
    }

    /// Ends it as a power failure does.
    fn kill(&mut self) {
        let mut child = self.0.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let Some(mut child) = self.0.take() else { return };
        let _ = kill_process(Pid::from_child(&child), Signal::TERM);
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline && matches!(child.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(20));
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// A program of a server's, whose end this thread's is, and which says what it does in a file of its name.
fn of(server: &Server, program: &str) -> Command {
    let mut command = server.command("setpriv");
    let log =
        File::options().append(true).create(true).open(server.dir.join(format!("{program}.log"))).unwrap();
    command.args(["--pdeathsig", "TERM", program]).stdout(log.try_clone().unwrap()).stderr(log);
    command
}

/// The servers, the three etcds, and the Patronis. Those end first.
struct Led {
    patronis: [Daemon; 2],
    _etcds: Vec<Daemon>,
    pair: Pair,
}

impl Led {
    fn start() -> Led {
        let mut pair = Pair::certified();
        let (etcds, hosts) = etcds(&pair.a);
        for server in [&mut pair.a, &mut pair.b] {
            server.variables.extend([
                ("PATRONI", server.dir.join("patroni.yml").display().to_string()),
                ("API_PORT", free_port().to_string()),
                ("ETCD_HOSTS", hosts.clone()),
                ("REWINDER_PASSWORD", password("rewinder")),
            ]);
            server.run("The settings of Patroni");
        }
        let first = patroni(&pair.a);
        let mut led = Led { patronis: [first, Daemon(None)], _etcds: etcds, pair };
        led.until_roles([Some("Leader"), None]);
        led.pair.a.run("The database");
        led.patronis[1] = patroni(&led.pair.b);
        led.until_roles([Some("Leader"), Some("Sync Standby")]);
        led.pair.a.waits_for_standby();
        led.pair.prepare();
        led
    }

    /// Waits until Patroni takes the servers for this.
    #[track_caller]
    fn until_roles(&self, roles: [Option<&str>; 2]) {
        let role = |members: &serde_json::Value, name: &str| {
            let member = members.as_array()?.iter().find(|member| member["Member"] == name)?;
            Some(member["Role"].as_str()?.to_owned())
        };
        until(&format!("{roles:?}"), || {
            let said = self.pair.b.sh("timeout 10 patronictl -c \"$PATRONI\" list -f json || true");
            let members = serde_json::from_str(&said).unwrap_or_default();
            ["ledger_a", "ledger_b"].map(|name| role(&members, name))
                == roles.map(|role| role.map(str::to_owned))
        });
    }
}

impl Drop for Led {
    fn drop(&mut self) {
        if thread::panicking() {
            for server in [&self.pair.a, &self.pair.b] {
                let text = fs::read_to_string(server.dir.join("patroni.log")).unwrap_or_default();
                let lines: Vec<&str> = text.lines().collect();
                say(&lines[lines.len().saturating_sub(60)..].join("\n"));
            }
        }
    }
}

fn patroni(server: &Server) -> Daemon {
    let settings = server.dir.join("patroni.yml");
    Daemon::start(of(server, "patroni").arg(settings))
}

/// Three of them, in the first server's place and with its certificate, and where they are.
fn etcds(server: &Server) -> (Vec<Daemon>, String) {
    let ports = [(); 3].map(|()| [free_port(), free_port()]);
    let hosts = ports.map(|[port, _]| format!("localhost:{port}")).join(",");
    let peer =
        |(number, [_, port]): (usize, &[u16; 2])| format!("etcd-{}=https://localhost:{port}", number + 1);
    let cluster = ports.iter().enumerate().map(peer).collect::<Vec<_>>().join(",");
    let start = |(number, [port, peer_port]): (usize, [u16; 2])| {
        let name = format!("etcd-{}", number + 1);
        let place = server.dir.join(&name);
        let settings = place.with_extension("env");
        let variables = [
            ("NAME", name),
            ("ADDRESS", "127.0.0.1".to_owned()),
            ("PORT", port.to_string()),
            ("PEER_PORT", peer_port.to_string()),
            ("DATA", place.display().to_string()),
            ("ETCD", settings.display().to_string()),
            ("CLUSTER", cluster.clone()),
        ];
        let variables = variables.map(|(name, value)| format!("{name}={value}\n")).concat();
        server.sh(&format!("{variables}{}", super::ground::commands("An etcd")));
        let settings = fs::read_to_string(settings).unwrap();
        let settings = settings.lines().map(|line| line.split_once('=').unwrap());
        Daemon::start(of(server, "etcd").envs(settings))
    };
    (ports.into_iter().enumerate().map(start).collect(), hosts)
}

#[test]
fn patroni_promotes_and_nothing_acknowledged_is_lost() {
    let began = Instant::now();
    let mut led = Led::start();
    say(&format!("two servers after {:?}", began.elapsed()));
    let (program, desk) = ledger_over(&led.pair);
    let seen = Seen::default();
    seen.under_load(&desk, |more| {
        more(20);
        // What is written from here on is on the primary's disk alone, and Patroni knows how far that is.
        led.pair.a.sh("kill -STOP $(psql -qAt -h \"$RUN\" -p $PORT -U postgres -c 'SELECT pid FROM pg_stat_replication')");
        until("a wait", || !led.pair.a.waiting().is_empty());
        thread::sleep(TOLD);
        let before = seen.count();
        led.patronis[0].kill();
        led.pair.a.kill();
        let killed = Instant::now();
        until("a promotion", || led.pair.b.psql("SELECT pg_is_in_recovery()") == "f");
        let promoted = Instant::now();
        let took = promoted - killed;
        let after = goes_on(more, promoted);
        say(&format!("{before} accepted; promoted after {took:?}, the next answer after {after:?}"));
        more(20);

        // It comes back with what nobody else has.
        let back = Instant::now();
        led.patronis[0] = patroni(&led.pair.a);
        led.until_roles([Some("Sync Standby"), Some("Leader")]);
        led.pair.b.waits_for_standby();
        say(&format!("a standby again after {:?}", back.elapsed()));
        more(20);
    });
    let log = seen.check(&desk);
    say(&format!("{} accepted, {} records, {:?}", seen.count(), log.digests.len(), began.elapsed()));
    assert_eq!(register::read(&program.register()).unwrap().unwrap().epoch.timeline, 2);
    until("the same on both", || trace(&led.pair.a) == trace(&led.pair.b));
    assert_eq!(led.pair.a.psql("SELECT received_tli FROM pg_stat_wal_receiver"), "2");
}
