//! The life of disbursements, from the request to the bank's last word, as scripts.

use programme::{Code, Halt};
use records::Payload;

use crate::world::cast::founding;
use crate::world::script::code_of;
use crate::world::{World, secret};

/// Runs a script on a funded ledger, and replays the whole log in the end.
pub fn lives(script: &str) {
    let mut world = World::funded();
    world.run(script);
    world.finish();
}

/// The worked steps of the table of postings. Steps 13 to 32 need records that the rules do not know yet.
const WORKED_STEPS: &str = "
01 dir1 register a1 ; dir1 open-fund h1 a1 fiduciary USD ; dir1 open-fund f1 a1 spendable USD
01 dir1 open-bank b1 USD ; dir1 open-bank cust USD
01 dir1 offer o1 1 cent=0.01 d1=100000.00 rest=8900000.01 trip=~6000.00
01 prep1 case c-1 o1:1 ; prep1 case c-2 o1:1 ; scr1 screen c-1 cleared ; scr1 screen c-2 cleared
01 rec1 restrain h1 10000000.00
01 prep1 request d0 c-1 cent 0.01 f1 -> insufficient_funds
02 rec1 custody h1 cust 10000000.00 ; rec1 interest h1 cust 12500.00
02 prep1 request d0 c-1 cent 0.01 f1 -> insufficient_funds
03 rec1 forfeit h1 cust f1 b1 10012500.00 costs=keeper:212500.00 claims=bank:800000.00
04 rec1 pay-claim h1 cust cost keeper 212500.00 ; rec1 pay-claim h1 cust claimant bank 800000.00
05 prep1 request d1 c-1 d1 100000.00 f1
05 prep1 request d9 c-2 rest 8900000.01 f1 -> insufficient_funds
06 app1 approve d1 ; app2 approve d1
07 pay1 release d1 b1
07 pay1 release d1 b1 -> wrong_stage
08 rec1 confirm d1 ; rec1 fee f1 b1 35.00
09 rec1 return d1 25.00
10 pay1 release d1 b1 ; rec1 confirm d1
11 prep1 request d2 c-1 trip 6000.00 f1 ; app1 approve d2
12 prep1 deliver d2 5412.30 ; pay1 release d2 b1 ; rec1 confirm d2
";

const F1: &str = "
   |resources|free|held|obligated|accrued|paid|cash|payable|outstanding|income|expense
03 |9,000,000|9,000,000|0|0|0|0|9,000,000|0|0|9,000,000|0
05 |9,000,000|8,900,000|100,000|0|0|0|9,000,000|0|0|9,000,000|0
06 |9,000,000|8,900,000|0|0|100,000|0|9,000,000|100,000|0|9,000,000|100,000
07 |9,000,000|8,900,000|0|0|100,000|0|9,000,000|0|100,000|9,000,000|100,000
08 |9,000,000|8,899,965|0|0|0|100,035|8,899,965|0|0|9,000,000|100,035
09 |9,000,000|8,899,940|0|0|100,000|60|8,999,940|100,000|0|9,000,000|100,060
10 |9,000,000|8,899,940|0|0|0|100,060|8,899,940|0|0|9,000,000|100,060
11 |9,000,000|8,893,940|0|6,000|0|100,060|8,899,940|0|0|9,000,000|100,060
12 |9,000,000|8,894,527.70|0|0|0|105,472.30|8,894,527.70|0|0|9,000,000|105,472.30
";

const H1: &str = "
   |restrained|custody-cash|owner-claim|payables
01 |10,000,000|0|0|0
02 |0|10,012,500|10,012,500|0
03 |0|1,012,500|0|1,012,500
04 |0|0|0|0
";

/// The rows of a table that stand at a step, each with the columns' names.
fn rows_at<'a>(table: &'a str, step: &str) -> Vec<(&'a str, &'a str)> {
    let mut rows = table.trim().lines().map(|row| row.split('|').map(str::trim));
    let columns: Vec<&str> = rows.next().unwrap().skip(1).collect();
    rows.filter_map(|mut row| (row.next() == Some(step)).then_some(row))
        .flat_map(|row| columns.clone().into_iter().zip(row))
        .collect()
}

#[test]
fn the_worked_steps() {
    let mut world = World::staffed();
    let mut checked = 0;
    for step in 1..=12 {
        let step = format!("{step:02}");
        for line in WORKED_STEPS.lines().filter_map(|line| line.strip_prefix(&step)) {
            world.run(line);
        }
        for (fund, table) in [("f1", F1), ("h1", H1)] {
            for (column, expected) in rows_at(table, &step) {
                assert_eq!(world.column(fund, column), expected, "{column} of {fund} at {step}");
                checked += 1;
            }
        }
    }
    assert_eq!(checked, 9 * 11 + 4 * 4);
    world.finish();
}

/// A26: preparer, approvers, payer and reconciler are four persons, and the bands say how many approvers.
#[test]
fn bands_and_persons() {
    lives(
        "
        prep1 request d1 c-1 small 5000.00 f1
        app1  approve d1
        is    d1 due

        prep1 request d2 c-1 bonus 100000.00 f1
        app1  approve d2
        is    d2 requested
        app1  approve d2                  -> already_approved
        c1    enrol app1 roles=approver keys=app1/spare as=spare ; c2 concur spare ; wait 1h
        app1  approve d2 key=app1/spare   -> already_approved
        app2  approve d2
        is    d2 due

        prep1 request d3 c-1 big 1000000.00 f1
        app1  approve d3 ; app2 approve d3 ; app3 approve d3
        is    d3 requested
        see   f1 held=1,000,000 accrued=105,000
        dir1  approve d3
        is    d3 due
        prep1 request d4 c-2 big 1000000.00 f1
        dir1  approve d4 ; dir2 approve d4
        is    d4 requested
        app1  approve d4
        is    d4 due

        all1  request d5 c-2 bonus 100000.00 f1
        all1  approve d5                  -> own_request
        all2  approve d5 ; app1 approve d5
        all2  release d5 b1               -> same_person
        all1  release d5 b1               -> same_person
        pay1  release d5 b1
        all2  confirm d5                  -> same_person
        all1  confirm d5
        is    d5 paid
        ",
    );
}

#[test]
fn rejected_or_cancelled_at_each_stage() {
    lives(
        "
        see   f1 free=9,000,000 held=0 cash=9,000,000
        prep1 request d1 c-1 trip 6000.00 f1 ; app1 reject d1
        is    d1 rejected
        see   f1 free=9,000,000 held=0
        prep1 cancel d1 -> wrong_stage

        prep1 request d2 c-1 trip 6000.00 f1 ; prep2 cancel d2
        is    d2 cancelled
        see   f1 free=9,000,000 held=0

        prep1 request d3 c-1 trip 6000.00 f1 ; app1 approve d3
        see   f1 free=8,994,000 obligated=6,000
        dir1  cancel d3
        see   f1 free=9,000,000 obligated=0 expense=0

        prep1 request d4 c-1 trip 6000.00 f1 ; app1 approve d4 ; prep1 deliver d4 5999.99
        see   f1 free=8,994,000.01 obligated=0 accrued=5,999.99 payable=5,999.99 expense=5,999.99
        prep1 cancel d4
        see   f1 free=9,000,000 accrued=0 payable=0 expense=0

        prep1 request d5 c-1 small 5000.00 f1 ; app1 approve d5 ; pay1 release d5 b1
        prep1 cancel d5      -> wrong_stage
        app1  reject d5      -> wrong_stage
        rec1  bank-reject d5
        is    d5 due
        see   f1 cash=9,000,000 cash-held=0 payable=5,000 outstanding=0
        prep1 cancel d5
        is    d5 cancelled
        see   f1 free=9,000,000 held=0 accrued=0 payable=0 paid=0 expense=0
        ",
    );
}

#[test]
fn what_runs_out_is_free_once_its_lapse_is_logged() {
    lives(
        "
        prep1 request d1 c-1 small 5000.00 f1 expires=2030-01-01T02:00:00Z
        prep1 request d2 c-1 trip 6000.00 f1 expires=2030-01-01T02:00:00Z ; app1 approve d2
        prep1 request d3 c-1 bonus 100000.00 f1 expires=2030-01-01T02:00:00Z ; app1 approve d3 ; app2 approve d3
        prep1 request d4 c-2 small 5000.00 f1 expires=2030-01-01T02:00:00Z ; app1 approve d4 ; pay1 release d4 b1
        prep1 request d5 c-2 trip 6000.00 f1 expires=2030-01-01T02:00:00Z ; app1 approve d5
        clock 1h
        prep1 deliver d5 6000.00
        lapse d1                -> lapse_not_due
        clock 1s
        app1  approve d1        -> disbursement_expired
        app1  reject d1         -> disbursement_expired
        prep1 cancel d1         -> disbursement_expired
        prep1 deliver d2 1.00   -> disbursement_expired
        pay1  release d3 b1     -> disbursement_expired
        see   f1 held=5,000 obligated=6,000 accrued=111,000
        prep1 request d9 c-1 small 5000.00 f1 -> obligation_exists
        lapse d1 ; lapse d2 ; lapse d3 ; lapse d5
        lapse d4                -> lapse_not_due
        lapse d1                -> lapse_not_due
        is    d1 lapsed
        see   f1 free=8,995,000 held=0 obligated=0 accrued=5,000 payable=0 outstanding=5,000
        prep1 request d9 c-1 small 5000.00 f1
        rec1  bank-reject d4
        is    d4 due
        wait  30d
        is    d4 due
        is    d9 lapsed
        pay1  release d4 b1
        ",
    );
}

/// A29 as far as one payment goes: the bank says nothing for long, and no second payment can be made.
#[test]
fn a_silent_bank_rejections_and_late_returns() {
    lives(
        "
        prep1 request d1 c-1 bonus 100000.00 f1 ; app1 approve d1 ; app2 approve d1
        pay1  release d1 b1
        see   f1 cash-held=100,000 outstanding=100,000
        wait  45d
        pay1  release d1 b1                        -> wrong_stage
        prep1 request d2 c-1 bonus 100000.00 f1    -> obligation_exists
        rec1  return d1 0.00                       -> wrong_stage
        rec1  bank-reject d1
        rec1  bank-reject d1                       -> wrong_stage
        pay1  release d1 b1
        rec1  confirm d1 value=2029-12-31
        rec1  confirm d1                           -> wrong_stage
        rec1  bank-reject d1                       -> wrong_stage
        prep1 request d2 c-1 bonus 100000.00 f1    -> obligation_exists
        wait  90d
        rec1  return d1 100000.00
        see   f1 paid=100,000 accrued=100,000 payable=100,000 cash=8,900,000 expense=200,000 free=8,800,000
        wait  90d
        pay1  release d1 b1 ; rec1 confirm d1
        see   f1 paid=200,000 accrued=0 cash=8,800,000 payable=0 outstanding=0
        rec1  return d1 0.00
        prep1 cancel d1
        see   f1 paid=100,000 accrued=0 cash=8,900,000 free=8,900,000 expense=100,000
        prep1 request d2 c-1 bonus 100000.00 f1
        ",
    );
}

#[test]
fn a_fact_takes_more_than_is_free() {
    lives(
        "
        prep1 request d1 c-1 small 5000.00 f2 ; app1 approve d1 ; pay1 release d1 b2
        prep1 request d2 c-1 trip 6000.00 f2
        see   f2 free=9,000 held=6,000 cash=20,000 cash-held=5,000
        rec1  fee f2 b2 9035.00
        see   f2 free=0 held=6,000 shortfall=35 cash=10,965 cash-held=5,000 overdrawn=0
        prep1 request d3 c-2 trip 1.00 f2  -> fund_blocked
        rec1  fee f2 b2 6000.00
        see   f2 free=0 shortfall=6,035 cash=5,000 cash-held=5,000 overdrawn=35 paid=15,035
        rec1  confirm d1
        see   f2 cash=0 overdrawn=35 paid=20,035 accrued=0
        app1  approve d2 ; prep1 deliver d2 6000.00
        pay1  release d2 b2                -> bank_overdrawn
        rec1  return d1 40.00
        see   f2 cash=4,925 overdrawn=0 shortfall=6,075 accrued=11,000 payable=11,000
        pay1  release d2 b2                -> insufficient_funds
        prep1 cancel d1
        see   f2 free=5,000 shortfall=6,075 accrued=6,000
        ",
    );
}

#[test]
fn steps_of_a_disbursement_are_undone_one_at_a_time() {
    lives(
        "
        prep1 request d1 c-1 trip 6000.00 f1 ; app1 approve d1
        dir1  reverse d1                    -> nothing_to_reverse
        prep1 deliver d1 5000.00
        dir1  reverse d1
        is    d1 obligated
        see   f1 obligated=6,000 accrued=0 free=8,994,000 payable=0
        prep1 deliver d1 5412.30 as=delivered
        pay1  release d1 b1 as=released
        dir1  reverse d1 entry=delivered    -> nothing_to_reverse
        dir1  reverse d1
        is    d1 due
        see   f1 cash-held=0 payable=5,412.30 outstanding=0
        dir1  reverse d1                    -> nothing_to_reverse
        pay1  release d1 b1 ; rec1 confirm d1
        dir1  reverse d1
        is    d1 released
        see   f1 paid=0 accrued=5,412.30 cash=9,000,000 cash-held=5,412.30 outstanding=5,412.30
        rec1  bank-reject d1
        dir1  reverse d1
        is    d1 released
        rec1  confirm d1
        rec1  return d1 12.30
        see   f1 paid=12.30 accrued=5,412.30 payable=5,412.30 cash=8,999,987.70
        dir1  reverse d1
        is    d1 paid
        see   f1 paid=5,412.30 accrued=0 payable=0 cash=8,994,587.70 free=8,994,587.70
        prep1 cancel d1                     -> wrong_stage
        ",
    );
}

/// A release that is undone after the payment's time ran out would leave a log that lacks a lapse.
#[test]
fn an_undone_release_lapses_no_more() {
    lives(
        "
        prep1 request d1 c-1 small 5000.00 f1 expires=2030-01-01T02:00:00Z ; app1 approve d1
        pay1  release d1 b1
        wait  30d
        dir1  reverse d1
        is    d1 due
        lapse d1         -> lapse_not_due
        wait  30d
        pay1  release d1 b1 ; rec1 confirm d1
        is    d1 paid
        ",
    );
}

#[test]
fn a_fact_is_undone_once_and_whole() {
    lives(
        "
        rec1  fee f2 b2 20000.35 as=fee
        see   f2 free=0 shortfall=0.35 overdrawn=0.35
        dir1  reverse fee
        see   f2 free=20,000 shortfall=0 overdrawn=0 paid=0 expense=0
        dir1  reverse fee                   -> nothing_to_reverse
        rec1  custody h2 cust 500.00 as=custody
        rec1  forfeit h2 cust f2 b2 500.00 costs=x:100.00 as=forfeiture
        dir1  reverse custody               -> insufficient_funds
        dir1  reverse forfeiture
        see   h2 custody-cash=500 owner-claim=500 payables=0
        see   f2 resources=20,000 free=20,000 cash=20,000 income=20,000
        dir1  reverse custody
        see   h2 custody-cash=0 owner-claim=0
        ",
    );
}

#[test]
fn two_persons_report() {
    lives(
        "
        c1    set-policy bank_report_persons=2 receipt_persons=3 as=p ; c2 concur p ; wait 1h
        rec1  custody h1 cust 700.00 as=custody
        see   h1 owner-claim=0
        rec1  countersign custody           -> already_signed
        rec2  countersign custody
        rec2  countersign custody           -> already_signed
        see   h1 owner-claim=0
        all1  countersign custody
        see   h1 owner-claim=700
        all2  countersign custody           -> report_unknown
        dir1  reverse custody
        see   h1 owner-claim=0

        rec1  fee f1 b1 35.00 as=fee ; rec2 countersign fee
        rec1  forfeit h2 cust f2 b2 9.00 as=none
        rec2  countersign none ; all1 countersign none -> insufficient_funds
        rec1  custody h2 cust 10.00 as=in ; rec2 countersign in ; all1 countersign in
        all1  countersign none
        see   f2 resources=20,009 cash=20,009
        rec1  windfall f2 b2 300.00 h2 shares=un:33.33 retained=30.00 as=w ; rec2 countersign w ; all1 countersign w
        see   f2 resources=20,309
        see   h2 payables=33.33 custody-cash=34.33 retained=30

        prep1 request d1 c-1 bonus 100000.00 f1 ; app1 approve d1 ; all1 approve d1 ; pay1 release d1 b1
        rec1  confirm d1 as=confirmed
        is    d1 released
        all1  countersign confirmed         -> same_person
        rec2  countersign confirmed
        is    d1 paid
        rec2  return d1 25.00 as=returned ; rec1 countersign returned
        is    d1 due
        pay1  release d1 b1
        rec2  bank-reject d1 as=rejected ; rec1 countersign rejected
        is    d1 due

        rec1  fee f1 b1 1.00 as=late
        c1    set-roles rec1 auditor as=r ; c2 concur r ; wait 1h
        rec2  countersign late
        see   f1 paid=60
        all1  countersign late
        see   f1 paid=61
        ",
    );
}

#[test]
fn approvals_are_counted_again() {
    lives(
        "
        prep1 request d1 c-1 bonus 100000.00 f1 ; app1 approve d1
        c1    set-policy bands=10000.00/1/0,100000.00/2/0,10000000.00/3/1 as=p ; c2 concur p ; wait 1h
        app2  approve d1 policy=1           -> policy_changed
        app2  approve d1
        is    d1 requested
        app1  approve d1
        is    d1 due

        prep1 request d2 c-2 bonus 100000.00 f1 ; app1 approve d2
        c1    revoke app1 since=3 as=r ; c2 concur r ; wait 1h
        app2  approve d2
        is    d2 requested
        app3  approve d2
        is    d2 due
        pay1  release d1 b1                 -> approvals_void
        c1    set-roles app3 payer as=roles ; c2 concur roles ; wait 59m
        pay1  release d2 b1
        rec1  bank-reject d2
        wait  1m
        pay1  release d2 b1                 -> approvals_void
        prep1 cancel d2
        prep1 request d3 c-2 bonus 100000.00 f1 ; app2 approve d3 ; all1 approve d3

        c1    set-policy bands=100000.00/3/0 as=q ; c2 concur q ; wait 1h
        pay1  release d3 b1                 -> approvals_void
        c1    set-policy bands= as=s ; c2 concur s ; wait 1h
        pay1  release d3 b1                 -> no_band
        ",
    );
}

#[test]
fn quorum_delay_and_veto() {
    lives(
        "
        c1    enrol new roles=preparer keys=new as=e
        new   request d1 c-1 small 5000.00 f1     -> key_unknown
        c2    concur e
        c3    concur e                            -> proposal_closed
        new   request d1 c-1 small 5000.00 f1     -> key_not_yet_valid
        wait  3599s
        new   request d1 c-1 small 5000.00 f1     -> key_not_yet_valid
        wait  1s
        aud1  veto e                              -> proposal_closed
        new   request d1 c-1 small 5000.00 f1

        c1    revoke new as=r ; c2 concur r ; aud1 veto r ; wait 1h
        new   request d2 c-1 trip 6000.00 f1
        c1    set-roles new approver as=s ; c2 concur s ; c3 veto s ; wait 1h
        new   approve d1                          -> role_missing
        c1    set-roles new approver as=t ; c2 concur t ; wait 1h
        new   request d3 c-1 bonus 100000.00 f1   -> role_missing
        new   approve d1                          -> own_request
        c1    set-policy gap_s=5 as=p ; c2 concur p
        c1    set-policy gap_s=6                  -> act_pending
        aud1  veto p
        c1    set-policy gap_s=6 as=q ; c2 concur q ; wait 1h

        c1    enrol x roles=payer keys=x as=x ; c2 concur x ; c1 revoke x as=y ; c2 concur y ; c3 veto x ; wait 1h
        x     register a9                         -> key_revoked
        c1    enrol x roles=payer keys=x2 as=z ; c2 concur z ; wait 1h
        x     register a9 key=x2                  -> role_missing

        c2    revoke c1 as=c ; c3 concur c ; wait 1h
        c1    set-policy gap_s=7                  -> key_revoked
        ",
    );
}

/// A concurrence drops those whose key is gone: two of three have to stand at the same time.
#[test]
fn a_quorum_counts_only_who_still_stands() {
    lives(
        "
        c3    set-policy gap_s=5 as=p
        c1    revoke c3 as=r ; c2 concur r ; wait 1h
        c1    concur p
        c1    set-policy gap_s=6 -> ok
        c2    concur p
        c1    set-policy gap_s=7 -> act_pending
        ",
    );
}

#[test]
fn a_report_counts_only_whose_key_still_stands() {
    lives(
        "
        c1    set-policy receipt_persons=2 as=p ; c2 concur p ; wait 1h
        rec1  custody h1 cust 700.00 as=custody
        c1    revoke rec1 as=r ; c2 concur r ; wait 1h
        rec2  countersign custody
        see   h1 owner-claim=0
        all1  countersign custody
        see   h1 owner-claim=700
        ",
    );
}

#[test]
fn a_report_that_could_not_be_posted_is_refused_at_its_first_signature() {
    lives(
        "
        c1    set-policy bank_report_persons=2 as=p ; c2 concur p ; wait 1h
        prep1 request d1 c-1 small 5000.00 f1
        rec1  confirm d1                    -> wrong_stage
        ",
    );
}

/// Sums have no bound, so that no typo of a reconciler makes a right ledger unprovable.
#[test]
fn the_sum_of_two_balances_may_exceed_the_largest_amount() {
    lives(
        "
        rec1  custody h2 cust 999999999999999.99
        rec1  windfall f2 b2 1.00 h2 shares=un:1.00
        ",
    );
}

/// A1 at the level of the rule: screening is open, and what is reserved stays reserved.
#[test]
fn screening_is_open() {
    lives(
        "
        prep1 request d1 c-1 small 5000.00 f1
        prep1 request d4 c-4 small 5000.00 f1   -> screening_open
        see   f1 held=5,000
        scr1  screen c-4 cleared
        prep1 request d4 c-4 small 5000.00 f1
        scr1  screen c-4 refused                -> screening_closed
        see   f1 held=10,000
        ",
    );
}

/// A19: not one cent of what is only restrained, and exactly the net once it is forfeited.
#[test]
fn nothing_of_what_is_restrained_and_the_net_of_what_is_forfeited() {
    let mut world = World::staffed();
    world.run(
        "
        dir1  register a1
        dir1  open-fund h1 a1 fiduciary USD ; dir1 open-fund f1 a1 spendable USD
        dir1  open-bank b1 USD ; dir1 open-bank cust USD
        dir1  offer o1 1 cent=0.01 net=8987500.00
        prep1 case c-1 o1:1 ; prep1 case c-2 o1:1 ; scr1 screen c-1 cleared ; scr1 screen c-2 cleared
        rec1  restrain h1 10000000.00
        prep1 request d1 c-1 cent 0.01 f1         -> insufficient_funds
        rec1  custody h1 cust 10000000.00
        prep1 request d1 c-1 cent 0.01 f1         -> insufficient_funds
        rec1  forfeit h1 cust f1 b1 10000000.00 costs=x:212500.00 claims=y:800000.00
        prep1 request d1 c-1 net 8987500.00 f1
        prep1 request d2 c-2 cent 0.01 f1         -> insufficient_funds
        see   f1 free=0 held=8,987,500
        ",
    );
    world.finish();
}

/// A30: the same again is answered with the first receipt, and another under the same id is a conflict, until the
/// instruction's time has run out.
#[test]
fn the_same_instruction_twice() {
    let mut world = World::funded();
    world.run("dir1 register a7 id=7 life=1h");
    let first = world.records.last().unwrap().clone();
    let position = world.records.len() as u64 - 1;
    let again = |world: &World| world.decide(&first).map(|_| ());
    world.run("dir1 register a8 id=7 -> instruction_id_reused");
    world.run("dir2 register a8 id=7");
    assert_eq!(again(&world), Err(Halt::Known { position }));
    world.run("clock 1h ; dir1 open-bank b7 USD");
    assert_eq!(again(&world), Err(Halt::Known { position }));
    world.run("dir1 register a8 id=7 -> instruction_id_reused ; clock 1s ; dir1 register a9 id=7");
    assert_eq!(code_of(&again(&world).map(|()| None)), Some(Code::InstructionIdReused));
    world.finish();

    let again = world.submit(Payload::Founding(Box::new(founding())), &secret("c1"));
    assert_eq!(again, Err(Halt::Known { position: 0 }));
}
