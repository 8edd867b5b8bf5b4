//! The founding, the people, and the stages at which tests begin.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use records::Payload;
use records::governance::{Band, ChannelKind, Charter, Founding, FoundingCustodian, Policy};
use records::scalar::Integer;
use signing::keys::SecretKey;

use super::{World, id, instruction_id, secret};

/// The ledger's key for records.
pub fn record_key() -> SecretKey {
    secret("ledger/records")
}

/// Everybody but the custodians `c1`, `c2` and `c3`. `all1` and `all2` hold what one person should not combine.
const PEOPLE: &str = "
    ag1    agency
    ag2    agency
    all1   approver,payer,preparer,reconciler
    all2   approver,payer,preparer,reconciler
    app1   approver
    app2   approver
    app3   approver
    aud1   auditor
    dir1   director
    dir2   director
    pay1   payer
    prep1  preparer
    prep2  preparer
    rec1   reconciler
    rec2   reconciler
    scr1   screener
";

/// Two assets, one of them forfeited for USD 9,000,000.00 net, the other for 20,000.00; an offer, and its cases.
const FUNDED: &str = "
    dir1   register a1
    dir1   register a2
    dir1   open-fund h1 a1 fiduciary USD
    dir1   open-fund f1 a1 spendable USD
    dir1   open-fund h2 a2 fiduciary USD
    dir1   open-fund f2 a2 spendable USD
    dir1   open-bank b1 USD
    dir1   open-bank b2 USD
    dir1   open-bank cust USD
    rec1   restrain h1 10000000.00
    rec1   custody h1 cust 10000000.00
    rec1   forfeit h1 cust f1 b1 10000000.00 costs=x:200000.00 claims=y:800000.00
    rec1   custody h2 cust 20000.00
    rec1   forfeit h2 cust f2 b2 20000.00
    dir1   offer o1 1 big=1000000.00 bonus=100000.00 huge=20000000.00 small=5000.00 trip=~6000.00
    prep1  case c-1 o1:1
    prep1  case c-2 o1:1
    prep1  case c-3 o1:1
    prep1  case c-4 o1:1 agency=ag2
    scr1   screen c-1 cleared
    scr1   screen c-2 cleared
    scr1   screen c-3 refused
";

/// The first policy. Bands: up to 10,000.00 one approver, up to 100,000.00 two, up to 10,000,000.00 three of whom one
/// is a director.
pub fn policy() -> Policy {
    let band = |up_to: &str, approvers, directors| Band {
        approvers: Integer(approvers),
        directors: Integer(directors),
        up_to: super::bodies::money(up_to),
    };
    Policy {
        bank_report_persons: Integer(1),
        bands: vec![band("10000.00", 1, 0), band("100000.00", 2, 0), band("10000000.00", 3, 1)],
        basis_age_s: Integer(7 * 86_400),
        channels: vec![ChannelKind::Manual],
        expiry_max_s: Integer(60 * 86_400),
        gap_s: Integer(48 * 3600),
        lapse_grace_s: Integer(3600),
        publication: None,
        quorum_delay_s: Integer(3600),
        receipt_persons: Integer(1),
        skew_s: Integer(60),
        witnessing: None,
    }
}

/// A founding record that is good.
pub fn founding() -> Founding {
    let custodian =
        |name: &str| FoundingCustodian { key: secret(name).public().clone(), principal: id(name) };
    Founding {
        body: Charter {
            checkpoint_key: secret("ledger/checkpoints").public().clone(),
            currencies: vec![id("EUR"), id("JPY"), id("USD")],
            custodians: vec![custodian("c1"), custodian("c2"), custodian("c3")],
            origin: id("ledger.example/1"),
            policy: policy(),
            quorum: Integer(2),
            record_key: record_key().public().clone(),
        },
        id: instruction_id(1),
        issued_at: World::empty().now(),
        key: secret("c1").public().id(),
        signer: id("c1"),
    }
}

impl World {
    /// Founded by `c1`, and accepted by nobody else.
    pub fn founded() -> World {
        let mut world = World::empty();
        world.submit(Payload::Founding(Box::new(founding())), &secret("c1")).unwrap();
        world
    }

    /// Accepted by all, and everybody enrolled.
    pub fn staffed() -> World {
        static STAFFED: Stage = Stage::new();
        STAFFED.begin(|| {
            let mut world = World::founded();
            world.run("c2 accept \n c3 accept");
            for row in PEOPLE.trim().lines() {
                let (name, roles) = row.trim().split_once(' ').unwrap();
                let roles = roles.trim();
                world.run(&format!("c1 enrol {name} roles={roles} keys={name} as=enrolled-{name}"));
                world.run(&format!("c2 concur enrolled-{name}"));
            }
            world.pass(3600);
            world
        })
    }

    /// With money, an offer and cases: `c-1` and `c-2` cleared, `c-3` refused, `c-4` open.
    pub fn funded() -> World {
        static FUNDED_WORLD: Stage = Stage::new();
        FUNDED_WORLD.begin(|| {
            let mut world = World::staffed();
            world.run(FUNDED);
            world
        })
    }
}

/// A world that many tests begin with: made once, and handed out as forks.
struct Stage(OnceLock<World>);

impl Stage {
    const fn new() -> Stage {
        Stage(OnceLock::new())
    }

    fn begin(&'static self, make: impl FnOnce() -> World) -> World {
        self.0.get_or_init(make).fork()
    }
}

/// The stages by name, for tables.
pub fn stage(name: &str) -> World {
    let stages: BTreeMap<&str, fn() -> World> = BTreeMap::from([
        ("empty", World::empty as fn() -> World),
        ("founded", World::founded),
        ("staffed", World::staffed),
        ("funded", World::funded),
    ]);
    stages.get(name).unwrap_or_else(|| panic!("no stage {name}"))()
}
