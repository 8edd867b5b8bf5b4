//! Which of two refusals comes first: the one that stands first in `Code::ALL`.
//!
//! A table names faults by the slot of an instruction that they sit in; every two of different slots are tried together.

use programme::Code;

use crate::world::World;
use crate::world::cast::stage;
use crate::world::script::code_of;

/// An instruction with slots, what stands in them when nothing is wrong, and the faults: slot, code, words.
struct Case {
    begin: &'static str,
    before: &'static str,
    line: &'static str,
    right: &'static str,
    faults: &'static str,
}

fn code(text: &str) -> Code {
    *Code::ALL.iter().find(|code| code.as_str() == text).unwrap_or_else(|| panic!("no code {text}"))
}

/// `slot words`, by lines.
fn slots(text: &str) -> Vec<(&str, &str)> {
    let rows = text.lines().map(str::trim).filter(|row| !row.is_empty());
    rows.map(|row| row.split_once(' ').map_or((row, ""), |(slot, words)| (slot, words.trim()))).collect()
}

fn fill(line: &str, right: &[(&str, &str)], faults: &[(&str, &str)]) -> String {
    right.iter().fold(line.to_owned(), |line, (slot, words)| {
        let words = faults.iter().find(|(wrong, _)| wrong == slot).map_or(*words, |(_, words)| words);
        line.replace(&format!("{{{slot}}}"), words)
    })
}

impl Case {
    fn refused(&self, world: &mut World, faults: &[(&str, &str)]) -> (String, Option<Code>) {
        let line = fill(self.line, &slots(self.right), faults);
        let code = code_of(&world.line(&line));
        (line, code)
    }

    /// What is refused in the wrong order.
    fn check(&self) -> Vec<String> {
        let mut world = stage(self.begin);
        world.run(self.before);
        assert_eq!(self.refused(&mut world.fork(), &[]).1, None, "{}", self.line);
        let faults: Vec<_> = slots(self.faults)
            .into_iter()
            .map(|(slot, rest)| {
                let (name, words) = rest.split_once(' ').unwrap_or((rest, ""));
                (slot, code(name), words.trim())
            })
            .collect();
        let mut wrong = vec![];
        for (index, (slot, code, words)) in faults.iter().enumerate() {
            let (line, refused) = self.refused(&mut world, &[(slot, words)]);
            assert_eq!(refused, Some(*code), "{line}");
            for (other_slot, other_code, other_words) in &faults[index + 1..] {
                if slot == other_slot {
                    continue;
                }
                let (line, refused) = self.refused(&mut world, &[(slot, words), (other_slot, other_words)]);
                let first = *code.min(other_code);
                if refused != Some(first) {
                    wrong.push(format!("{refused:?} instead of {first:?}: {line}"));
                }
            }
        }
        wrong
    }
}

const FRAME: Case = Case {
    begin: "staffed",
    before: "
        dir1 register a1 id=7
        c1 enrol dir1 roles=director keys=revoked as=e1 ; c2 concur e1 ; wait 1h
        c1 revoke revoked as=r ; c2 concur r ; wait 1h
        c1 enrol dir1 roles=director spares=waits as=e3 ; c2 concur e3 ; wait 1h
        c1 enrol dir1 roles=director keys=past expires=2030-01-01T05:00:01Z as=e4 ; c2 concur e4 ; wait 3601s
        c1 enrol dir1 roles=director keys=early as=e2 ; c2 concur e2
        wait 1s
    ",
    line: "dir1 {what} {ledger} {key} {id} {issued} {life} {basis}",
    right: "
        what    register a9
        ledger
        key
        id
        issued
        life
        basis
    ",
    faults: "
        ledger  wrong_ledger          ledger=other
        key     key_unknown           key=nobody
        key     key_not_signers       key=rec1
        id      instruction_id_reused id=7
        key     key_not_yet_valid     key=early
        key     key_revoked           key=revoked
        key     key_expired           key=past
        key     key_spare             key=waits
        life    not_after_invalid     life=31d
        issued  expired               issued=-60d
        issued  issued_in_future      issued=61s
        basis   basis_unknown         basis=never
        basis   basis_unknown         basis=forged
        what    role_missing          screen c-1 cleared
        what    asset_exists          register a1
    ",
};

const REQUEST: Case = Case {
    begin: "funded",
    before: "
        prep1 request d0 c-2 small 5000.00 f1
        dir1 open-fund f-eur a1 spendable EUR
        dir1 open-fund f-new a1 spendable USD
        rec1 fee f2 b2 20000.01
    ",
    line: "{who} request {id} {case} {benefit} {amount} {fund} {expires} {occurrence} {offer}",
    right: "
        who        prep1
        id         d1
        case       c-1
        benefit    small
        amount     5000.00
        fund       f1
        expires
        occurrence
        offer
    ",
    faults: "
        who        role_missing         app1
        fund       fund_unknown         f9
        fund       fund_wrong_kind      h1
        fund       currency_mismatch    f-eur
        amount     currency_mismatch    EUR:5000.00
        amount     amount_not_positive  0.00
        offer      offer_unknown        offer=o9:1
        case       case_unknown         c-9
        id         disbursement_exists  d0
        case       screening_open       c-4
        case       screening_refused    c-3
        benefit    benefit_unknown      nothing
        occurrence benefit_unknown      occurrence=2
        amount     amount_not_offered   4999.99
        expires    expiry_invalid       expires=2030-01-01T00:00:00Z
        case       obligation_exists    c-2
        fund       fund_blocked         f2
        fund       insufficient_funds   f-new
    ",
};

const APPROVAL: Case = Case {
    begin: "funded",
    before: "
        all1 request d0 c-1 small 5000.00 f1 expires=2030-01-02T00:00:00Z
        all1 request d1 c-2 bonus 100000.00 f1
        all1 request d2 c-2 small 5000.00 f1
        app1 approve d1
        app2 approve d2
        clock 24h
    ",
    line: "{who} approve {id} {amount} {policy}",
    right: "
        who      app2
        id       d1
        amount
        policy
    ",
    faults: "
        who      role_missing          pay1
        id       disbursement_unknown  d9
        id       disbursement_expired  d0
        id       wrong_stage           d2
        amount   effect_differs        amount=1.00
        policy   policy_changed        policy=9
        who      own_request           all1
        who      already_approved      app1
    ",
};

const DELIVERY: Case = Case {
    begin: "funded",
    before: "
        prep1 request d0 c-1 small 5000.00 f1
        prep1 request d1 c-1 trip 5000.00 f1
        prep1 request d2 c-2 trip 5000.00 f1 expires=2030-01-02T00:00:00Z
        app1 approve d1 ; app1 approve d2
        clock 24h
    ",
    line: "{who} deliver {id} {amount} {date}",
    right: "
        who      prep2
        id       d1
        amount   4000.00
        date
    ",
    faults: "
        who      role_missing          app1
        amount   currency_mismatch     EUR:4000.00
        amount   amount_not_positive   0.00
        date     value_date_invalid    value=2030-03-01
        id       disbursement_expired  d2
        id       wrong_stage           d0
        amount   invoice_too_high      5000.01
    ",
};

const RELEASE: Case = Case {
    begin: "funded",
    before: "
        dir1 open-bank b-eur EUR
        prep1 request d0 c-2 small 5000.00 f1
        prep1 request d1 c-1 small 5000.00 f1 ; all1 approve d1
        prep1 request d2 c-2 trip 5000.00 f1 expires=2030-01-02T00:00:00Z ; all1 approve d2
        clock 24h
    ",
    line: "{who} release {id} {bank} {request}",
    right: "
        who      pay1
        id       d1
        bank     b1
        request
    ",
    faults: "
        who      role_missing          app1
        bank     bank_unknown          b9
        bank     currency_mismatch     b-eur
        id       disbursement_expired  d2
        request  request_differs       request=other
        id       wrong_stage           d0
        who      same_person           all1
        bank     insufficient_funds    b2
    ",
};

const RETURN: Case = Case {
    begin: "funded",
    before: "
        prep1 request d0 c-2 small 5000.00 f1
        prep1 request d1 c-1 small 5000.00 f1 ; all1 approve d1 ; pay1 release d1 b1 ; rec1 confirm d1
        prep1 request d2 c-1 bonus 100000.00 f1 ; all1 approve d2 ; app1 approve d2 ; pay1 release d2 b1
    ",
    line: "{who} return {id} {kept} {date}",
    right: "
        who      rec1
        id       d1
        kept     1.00
        date
    ",
    faults: "
        who      role_missing           app1
        kept     currency_mismatch      EUR:1.00
        kept     amount_not_positive    -0.01
        kept     amounts_do_not_add_up  100000.01
        date     value_date_invalid     value=2030-03-01
        id       wrong_stage            d2
        who      same_person            all1
    ",
};

const FORFEITURE: Case = Case {
    begin: "funded",
    before: "
        dir1 open-bank b-eur EUR
        dir1 open-fund f-eur a1 spendable EUR
        rec1 custody h1 cust 100.00
    ",
    line: "{who} forfeit {fund} {bank} {to} {to_bank} {gross} {costs} {date}",
    right: "
        who      rec1
        fund     h1
        bank     cust
        to       f1
        to_bank  b1
        gross    100.00
        costs
        date
    ",
    faults: "
        who      role_missing           dir1
        fund     fund_unknown           h9
        to       fund_unknown           f9
        fund     fund_wrong_kind        f1
        to       fund_wrong_kind        f2
        to       currency_mismatch      f-eur
        bank     bank_unknown           b9
        to_bank  bank_unknown           b9
        to_bank  currency_mismatch      b-eur
        gross    currency_mismatch      EUR:100.00
        gross    amount_not_positive    -100.00
        costs    amount_not_positive    costs=x:0.00
        costs    amounts_do_not_add_up  costs=x:200.01
        date     value_date_invalid     value=2030-03-01
        gross    insufficient_funds     200.00
    ",
};

const WINDFALL: Case = Case {
    begin: "funded",
    before: "dir1 open-bank b-eur EUR",
    line: "{who} windfall {fund} {bank} {own} {shares_fund} {retained} {date}",
    right: "
        who          rec1
        fund         f1
        bank         b1
        own          100.00
        shares_fund  h1
        retained
        date
    ",
    faults: "
        who          role_missing         dir1
        fund         fund_unknown         f9
        shares_fund  fund_wrong_kind      h2
        bank         bank_unknown         b9
        bank         currency_mismatch    b-eur
        retained     currency_mismatch    retained=EUR:1.00
        own          amount_not_positive  0.00
        retained     amount_not_positive  retained=-1.00
        date         value_date_invalid   value=2030-03-01
        own          amount_too_large     999999999999999.99
    ",
};

const FUND: Case = Case {
    begin: "funded",
    before: "",
    line: "{who} open-fund {id} {asset} {kind} {currency}",
    right: "
        who       dir1
        id        f9
        asset     a1
        kind      spendable
        currency  USD
    ",
    faults: "
        who       role_missing       rec1
        asset     asset_unknown      a9
        id        fund_exists        f2
        kind      fund_exists        fiduciary
        currency  currency_mismatch  GBP
    ",
};

const OFFER: Case = Case {
    begin: "funded",
    before: "",
    line: "{who} offer o1 {version} {first} {second} {third}",
    right: "
        who      dir1
        version  2
        first    b=1.00
        second   c=1.00
        third    d=1.00
    ",
    faults: "
        who      role_missing         rec1
        first    currency_mismatch    b=GBP:1.00
        second   amount_not_positive  c=0.00
        third    offer_invalid        a=1.00
        version  offer_invalid        3
    ",
};

const ENROLMENT: Case = Case {
    begin: "staffed",
    before: "c1 set-roles dir2 auditor as=r ; c2 concur r",
    line: "{who} enrol {principal} {roles} {keys} {expires} {proof}",
    right: "
        who        c1
        principal  x
        roles      roles=payer
        keys       keys=x
        expires
        proof
    ",
    faults: "
        who        role_missing        dir1
        roles      act_invalid         roles=preparer,payer
        expires    act_invalid         expires=2030-01-01T02:00:00Z
        keys       act_invalid         keys=x,x
        proof      possession_invalid  by=y
        keys       key_enrolled        keys=dir1
        roles      custodians_fixed    roles=custodian
        principal  act_pending         dir2
    ",
};

/// An activation, whose frame is the same but for the key that may sign it.
const ACTIVATION: Case = Case {
    begin: "staffed",
    before: "
        c1 enrol dir1 roles=director keys=past spares=late expires=2030-01-01T02:00:01Z as=e1 ; c2 concur e1 ; wait 3601s
        c1 enrol dir1 roles=director spares=s as=e2 ; c2 concur e2 ; wait 1h
        c1 enrol dir1 roles=director keys=second spares=early as=e3 ; c2 concur e3
    ",
    line: "dir1 activate {key} {replaces} {since} {life}",
    right: "
        key       key=s
        replaces  replaces=dir1
        since     since=1
        life
    ",
    faults: "
        key       key_not_signers    key=rec1
        key       key_not_yet_valid  key=early
        key       key_expired        key=late
        life      not_after_invalid  life=31d
        key       key_not_spare      key=dir1
        replaces  act_invalid        replaces=dir2
        replaces  act_invalid        replaces=s
        replaces  act_invalid
        since     act_invalid        since=9999
    ",
};

/// The act has one code for all that is wrong with it, and a group of its own.
const REOPENING: Case = Case {
    begin: "staffed",
    before: "clock 1s",
    line: "{who} reopen {origin} {left} {cited} {ledger} {issued} {basis}",
    right: "
        who     c1
        origin  ledger.example/2
        left
        cited
        ledger
        issued
        basis
    ",
    faults: "
        ledger  wrong_ledger   ledger=other
        issued  expired        issued=-60d
        basis   basis_unknown  basis=forged
        who     role_missing   dir1
        origin  act_invalid    ledger.example/1
        left    act_invalid    left=forged
        left    act_invalid    left=first
        cited   act_invalid    cited=unsigned
        cited   act_invalid    cited=elsewhere
        cited   act_invalid    cited=another
    ",
};

/// The same with new keys, of which the group carries one.
const REKEYING: Case = Case {
    begin: "staffed",
    before: "clock 1s ; carry ledger/records/2",
    line: "{who} reopen {origin} {keys} {left} {cited} {ledger}",
    right: "
        who     c1
        origin  ledger.example/2
        keys    keys=ledger/records/2,ledger/checkpoints/2
        left
        cited
        ledger
    ",
    faults: "
        ledger  wrong_ledger   ledger=other
        who     role_missing   dir1
        origin  act_invalid    ledger.example/1
        keys    act_invalid
        keys    act_invalid    keys=ledger/records/3,ledger/checkpoints/2
        keys    act_invalid    keys=ledger/records/2,ledger/records/2
        keys    act_invalid    keys=ledger/records/2,ledger/records
        keys    act_invalid    keys=ledger/records/2,dir1
        keys    act_invalid    keys=ledger/records/2,c2
        left    act_invalid    left=forged
        cited   act_invalid    cited=unsigned
        cited   act_invalid    cited=another
    ",
};

/// A key that the group carries need not be new, where the other one is.
const REKEYING_OF_ONE: Case = Case {
    begin: "staffed",
    before: "clock 1s ; carry ledger/records",
    line: "{who} reopen ledger.example/2 {keys}",
    right: "
        who   c1
        keys  keys=ledger/records,ledger/checkpoints/2
    ",
    faults: "
        who   role_missing  dir1
        keys  act_invalid
        keys  act_invalid   keys=ledger/records,ledger/checkpoints
        keys  act_invalid   keys=ledger/records/2,ledger/checkpoints
    ",
};

/// With a reopening, which has to stand directly before it.
const CONCURRENCE: Case = Case {
    begin: "staffed",
    before: "
        c1 set-roles dir2 auditor as=decided ; c2 concur decided
        clock 1s ; c1 reopen ledger.example/2 as=earlier
        clock 1s ; c1 reopen ledger.example/2 as=reopening
    ",
    line: "{who} concur {proposal} {ledger}",
    right: "
        who       c2
        proposal  reopening
        ledger
    ",
    faults: "
        ledger    wrong_ledger       ledger=other
        who       role_missing       dir1
        proposal  proposal_closed    decided
        who       already_concurred  c1
        proposal  act_invalid        earlier
    ",
};

#[test]
fn the_earlier_code_wins() {
    let cases = [
        FRAME,
        REQUEST,
        APPROVAL,
        DELIVERY,
        RELEASE,
        RETURN,
        FORFEITURE,
        WINDFALL,
        FUND,
        OFFER,
        ENROLMENT,
        ACTIVATION,
        REOPENING,
        REKEYING,
        REKEYING_OF_ONE,
        CONCURRENCE,
    ];
    let wrong: Vec<String> = cases.iter().flat_map(Case::check).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Two faults of the frame that belong to the ledger, not to the instruction.
#[test]
fn before_all_have_accepted_only_the_frame_is_judged() {
    let mut world = World::founded();
    world.run(
        "
        c1 register a1 ledger=other -> wrong_ledger
        c1 register a1 key=nobody   -> key_unknown
        c1 register a1 key=c2       -> key_not_signers
        c1 register a1 life=31d     -> not_after_invalid
        c1 register a1 issued=-60d  -> expired
        c1 register a1 basis=forged -> basis_unknown
        c1 register a1              -> founding_incomplete
        c2 accept                   -> ok
        c2 accept                   -> already_accepted
        c1 enrol x roles=payer keys=x -> founding_incomplete
        clock 8d
        c3 accept basis=first       -> basis_too_old
        ",
    );
}

#[test]
fn before_the_founding_nothing_else_matters() {
    World::empty().run("c1 register a1 ledger=other key=nobody life=31d basis=never -> ledger_not_founded");
}
