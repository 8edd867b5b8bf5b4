//! Every refusal, and which of two comes first.

use std::collections::BTreeSet;

use programme::Code;

use crate::world::cast::stage;
use crate::world::script::code_of;

/// Refusal, the stage at which the script begins, and the script; its last line is refused.
const REFUSALS: &str = "
ledger_not_founded    | empty   | c1 register a9
ledger_founded        | founded | found quorum=3
founding_invalid      | empty   | found quorum=1
founding_invalid      | empty   | found quorum=4
founding_invalid      | empty   | found threshold=1
founding_invalid      | empty   | found threshold=0 witnesses=w1
founding_invalid      | empty   | found threshold=2 witnesses=w1
founding_invalid      | empty   | found replays=1 witnesses=w1
founding_invalid      | empty   | found replays=2 witnesses=w1-replay,w2
founding_invalid      | empty   | found witnesses=w2,w1
founding_invalid      | empty   | found witnesses=w1,w1
founding_invalid      | empty   | found currencies=
founding_invalid      | empty   | found currencies=USD,EUR
founding_invalid      | empty   | found custodians=twice
founding_invalid      | empty   | found witnesses=ledger/records
founding_invalid      | empty   | found signer=c4
founding_invalid      | empty   | found bands=10.00/0/0
founding_invalid      | empty   | found bands=10.00/1/2
founding_invalid      | empty   | found bands=10.00/1/0,10.00/2/0
founding_invalid      | empty   | found bands=0.00/1/0
founding_invalid      | empty   | found bands=GBP:10.00/1/0
founding_invalid      | empty   | found bank_report_persons=0
founding_invalid      | empty   | found receipt_persons=0
founding_invalid      | empty   | found basis_age_s=0
founding_invalid      | empty   | found expiry_max_s=0
founding_invalid      | empty   | found gap_s=0
founding_invalid      | empty   | found quorum_delay_s=999999999999
founding_invalid      | empty   | found channels=manual,manual
wrong_ledger          | staffed | dir1 register a9 ledger=other
key_unknown           | staffed | dir1 register a9 key=nobody
key_unknown           | staffed | c1 revoke nobody
key_not_signers       | staffed | dir1 register a9 key=dir2
key_not_signers       | founded | nobody register a9 key=c1
instruction_id_reused | staffed | dir1 register a8 id=7 ; dir1 register a9 id=7
key_not_yet_valid     | staffed | c1 enrol dir1 roles=director keys=new as=e ; c2 concur e ; clock 3599s ; dir1 register a9 key=new
key_revoked           | staffed | c1 revoke dir1 as=r ; c2 concur r ; clock 1h ; dir1 register a9
key_revoked           | staffed | c1 enrol dir1 roles=director keys=new as=e ; c2 concur e ; aud1 veto e ; clock 1h ; dir1 register a9 key=new
key_revoked           | staffed | c1 enrol dir1 roles=director keys=new as=e ; c2 concur e ; aud1 veto e ; dir1 register a9 key=new
key_revoked           | staffed | c1 enrol dir1 roles=director spares=s as=e ; c2 concur e ; aud1 veto e ; clock 1h ; dir1 activate key=s
key_revoked           | staffed | c1 enrol dir1 roles=director spares=s as=e ; c2 concur e ; clock 1h ; c1 revoke s as=r ; c2 concur r ; clock 1h ; dir1 activate key=s
key_revoked           | staffed | c1 enrol dir1 roles=director spares=s as=e ; c2 concur e ; clock 1h ; dir1 activate key=s replaces=dir1 ; dir1 register a9
key_expired           | staffed | c1 enrol dir1 roles=director keys=new expires=2030-01-01T02:00:01Z as=e ; c2 concur e ; clock 3601s ; dir1 register a9 key=new
key_expired           | staffed | c1 enrol dir1 roles=director spares=s expires=2030-01-01T02:00:01Z as=e ; c2 concur e ; clock 3601s ; dir1 activate key=s
key_spare             | staffed | c1 enrol dir1 roles=director spares=s as=e ; c2 concur e ; clock 1h ; dir1 register a9 key=s
key_spare             | staffed | c1 enrol c3 roles=custodian spares=s as=e ; c2 concur e ; clock 1h ; c1 set-policy gap_s=5 as=p ; c3 concur p key=s
not_after_invalid     | staffed | dir1 register a9 life=2592001s
not_after_invalid     | staffed | dir1 register a9 life=-1s
expired               | staffed | dir1 register a9 issued=-61s life=60s
issued_in_future      | staffed | dir1 register a9 issued=61s
basis_unknown         | staffed | dir1 register a9 basis=forged
basis_unknown         | staffed | dir1 register a9 basis=never
basis_unknown         | founded | clock 1s ; c2 accept ; clock 1s ; c3 accept
basis_too_old         | staffed | clock 604801s ; dir1 register a9 basis=first
founding_incomplete   | founded | c2 accept ; c1 register a9
role_missing          | staffed | prep1 register a9
role_missing          | staffed | app1 case c-9 o1:1
role_missing          | staffed | dir1 enrol x roles=payer keys=x
role_missing          | staffed | aud1 concur enrolled-ag1
role_missing          | staffed | dir1 veto enrolled-ag1
role_missing          | staffed | dir1 accept
role_missing          | funded  | dir1 open-fund f9 a1 spendable USD ; prep1 open-fund f8 a1 spendable USD
role_missing          | funded  | rec1 open-bank b9 USD
role_missing          | funded  | prep1 offer o2 1 x=1.00
role_missing          | funded  | dir1 screen c-4 cleared
role_missing          | funded  | dir1 restrain h1 1.00
role_missing          | funded  | dir1 request d1 c-1 small 5000.00 f1
role_missing          | funded  | prep1 request d1 c-1 small 5000.00 f1 ; pay1 approve d1
role_missing          | funded  | prep1 request d1 c-1 small 5000.00 f1 ; prep2 reject d1
role_missing          | funded  | prep1 request d1 c-1 small 5000.00 f1 ; app1 cancel d1
role_missing          | funded  | prep1 request d1 c-1 trip 5000.00 f1 ; app1 approve d1 ; dir1 deliver d1 1.00
role_missing          | funded  | prep1 request d1 c-1 small 5000.00 f1 ; app1 approve d1 ; prep1 release d1 b1
role_missing          | funded  | prep1 reverse d9
role_missing          | staffed | c1 enrol svc roles=service keys=svc as=e ; c2 concur e ; wait 1h ; svc register a9
already_accepted      | founded | c2 accept basis=first ; c2 accept basis=first
proposal_unknown      | funded  | prep1 request d1 c-1 small 5000.00 f1 as=r ; c1 concur r
proposal_unknown      | funded  | prep1 request d1 c-1 small 5000.00 f1 as=r ; aud1 veto r
proposal_closed       | staffed | c3 concur enrolled-ag1
proposal_closed       | staffed | aud1 veto enrolled-ag1
proposal_closed       | staffed | c1 enrol x roles=payer keys=x as=e ; c2 veto e ; c2 concur e
proposal_closed       | staffed | c1 enrol x roles=payer keys=x as=e life=1h ; clock 3601s ; c2 concur e
already_concurred     | staffed | c1 enrol x roles=payer keys=x as=e ; c1 concur e
key_not_spare         | staffed | dir1 activate
key_not_spare         | staffed | c1 enrol dir1 roles=director spares=s as=e ; c2 concur e ; clock 1h ; dir1 activate key=s ; dir1 activate key=s
key_unknown           | staffed | c1 enrol dir1 roles=director spares=s as=e ; c2 concur e ; clock 1h ; dir1 activate key=s replaces=nobody
act_invalid           | staffed | c1 enrol dir1 roles=director spares=s as=e ; c2 concur e ; clock 1h ; dir1 activate key=s replaces=dir2
act_invalid           | staffed | c1 enrol dir1 roles=director spares=s as=e ; c2 concur e ; clock 1h ; dir1 activate key=s replaces=s
act_invalid           | staffed | c1 enrol dir1 roles=director spares=s as=e ; c2 concur e ; clock 1h ; dir1 activate key=s since=1
act_invalid           | staffed | c1 enrol dir1 roles=director spares=s as=e ; c2 concur e ; clock 1h ; dir1 activate key=s replaces=dir1 since=9999
act_invalid           | staffed | c1 enrol dir1 roles=director spares=s as=e ; c2 concur e ; clock 1h ; c1 revoke dir1 as=r ; c2 concur r ; dir1 activate key=s replaces=dir1
act_invalid           | staffed | c1 enrol dir1 roles=director spares=s as=e ; c2 concur e ; clock 1h ; dir1 activate key=s replaces=dir1 ; c1 revoke dir1
act_invalid           | staffed | c1 enrol x roles=payer
act_invalid           | staffed | c1 enrol x roles=payer spares=x
act_invalid           | staffed | c1 enrol x roles=payer keys=x spares=
act_invalid           | staffed | c1 enrol x roles=payer keys=x spares=x
act_invalid           | staffed | c1 enrol x roles=payer keys=x expires=2030-01-01T02:00:00Z
act_invalid           | staffed | c1 enrol x roles=payer keys=x expires=2030-01-01T02:00:01Z as=e ; clock 1s ; c2 concur e
act_invalid           | staffed | c1 enrol x roles=preparer,payer keys=x
act_invalid           | staffed | c1 enrol x roles=payer,payer keys=x
act_invalid           | staffed | c1 enrol x roles=agency,payer keys=x
act_invalid           | staffed | c1 enrol x roles=payer keys=x,x
act_invalid           | staffed | c1 set-roles nobody payer
act_invalid           | staffed | c1 set-policy gap_s=0
act_invalid           | staffed | c1 set-policy publication=59/256
act_invalid           | staffed | c1 set-policy publication=316224001/256
act_invalid           | staffed | c1 set-policy publication=3600/1
act_invalid           | staffed | c1 set-policy publication=3600/4097
act_invalid           | staffed | c1 set-policy threshold=2 witnesses=w1
act_invalid           | staffed | c1 set-policy witnesses=ledger/checkpoints
act_invalid           | staffed | c1 set-policy bands=GBP:1.00/1/0
act_invalid           | staffed | c1 revoke dir1 as=r ; c2 concur r ; c1 revoke dir1
act_invalid           | staffed | c1 revoke dir1 since=9999
possession_invalid    | staffed | c1 enrol x roles=payer keys=x for=y
possession_invalid    | staffed | c1 enrol x roles=payer keys=x of=other
possession_invalid    | staffed | c1 enrol x roles=payer keys=x by=dir1
possession_invalid    | staffed | c1 enrol x roles=payer keys=x type=application/vnd.safeconduct.veto.v1+json
possession_invalid    | staffed | c1 enrol dir1 roles=director spares=s by=dir1
key_enrolled          | staffed | c1 enrol dir1 roles=director spares=dir1
key_enrolled          | staffed | c1 enrol x roles=payer keys=dir1
key_enrolled          | staffed | c1 enrol x roles=payer keys=ledger/records
key_enrolled          | staffed | c1 enrol x roles=payer keys=ledger/checkpoints
key_enrolled          | staffed | c1 enrol x roles=payer keys=x as=e ; c1 enrol y roles=payer keys=x as=f ; c2 concur e ; c2 concur f
key_enrolled          | staffed | c1 enrol x roles=payer keys=x as=e ; c2 concur e ; c3 veto e ; c1 enrol x roles=payer keys=x
custodians_fixed      | staffed | c1 enrol x roles=custodian keys=x
custodians_fixed      | staffed | c1 set-roles c2 auditor
custodians_fixed      | staffed | c1 set-roles dir1 custodian,director
act_pending           | staffed | c1 set-policy gap_s=9 as=p ; c2 concur p ; c1 set-policy gap_s=8
act_pending           | staffed | c1 set-roles dir1 payer as=p ; c1 set-roles dir1 auditor as=q ; c2 concur p ; c2 concur q
asset_exists          | funded  | dir1 register a1
asset_unknown         | funded  | dir1 open-fund f9 a9 spendable USD
fund_exists           | funded  | dir1 open-fund f1 a2 spendable USD
fund_exists           | funded  | dir1 open-fund h9 a1 fiduciary USD
fund_unknown          | funded  | rec1 restrain h9 1.00
fund_unknown          | funded  | prep1 request d1 c-1 small 5000.00 f9
fund_wrong_kind       | funded  | rec1 restrain f1 1.00
fund_wrong_kind       | funded  | rec1 custody h1 cust 1.00 ; rec1 forfeit h1 cust h1 b1 1.00
fund_wrong_kind       | funded  | rec1 custody h1 cust 1.00 ; rec1 forfeit h1 cust f2 b1 1.00
fund_wrong_kind       | funded  | rec1 windfall f1 b1 1.00 h2
fund_wrong_kind       | funded  | rec1 fee h1 b1 1.00
fund_wrong_kind       | funded  | prep1 request d1 c-1 small 5000.00 h1
bank_exists           | funded  | dir1 open-bank b1 USD
bank_unknown          | funded  | rec1 fee f1 b9 1.00
bank_unknown          | funded  | prep1 request d1 c-1 small 5000.00 f1 ; app1 approve d1 ; pay1 release d1 b9
currency_mismatch     | funded  | rec1 fee f1 b1 EUR:1.00
currency_mismatch     | funded  | dir1 open-bank b9 EUR ; rec1 fee f1 b9 1.00
currency_mismatch     | funded  | dir1 open-fund f9 a1 spendable GBP
currency_mismatch     | funded  | dir1 open-bank b9 GBP
currency_mismatch     | funded  | dir1 offer o2 1 x=GBP:1.00
currency_mismatch     | funded  | prep1 request d1 c-1 small EUR:5000.00 f1
currency_mismatch     | funded  | dir1 open-fund f9 a1 spendable EUR ; prep1 request d1 c-1 small 5000.00 f9
currency_mismatch     | funded  | dir1 open-fund f9 a1 spendable EUR ; dir1 open-bank b9 EUR ; rec1 custody h1 cust 1.00 ; rec1 forfeit h1 cust f9 b9 1.00
currency_mismatch     | funded  | rec1 windfall f1 b1 1.00 h1 retained=EUR:1.00
currency_mismatch     | funded  | dir1 open-fund h9 a9 fiduciary EUR -> asset_unknown ; rec1 restrain h1 EUR:1.00
amount_not_positive   | funded  | rec1 fee f1 b1 0.00
amount_not_positive   | funded  | rec1 fee f1 b1 -1.00
amount_not_positive   | funded  | rec1 windfall f1 b1 0.00 h1
amount_not_positive   | funded  | rec1 windfall f1 b1 1.00 h1 retained=-1.00
amount_not_positive   | funded  | rec1 forfeit h1 cust f1 b1 1.00 costs=x:0.00
amount_not_positive   | funded  | dir1 offer o2 1 x=0.00
amount_not_positive   | funded  | prep1 request d1 c-1 trip 0.00 f1
too_many_shares       | funded  | rec1 custody h1 cust 9.00 ; rec1 forfeit h1 cust f1 b1 9.00 costs=x:0.01*101
too_many_shares       | funded  | rec1 windfall f1 b1 9.00 h1 shares=x:0.01*101
amounts_do_not_add_up | funded  | rec1 custody h1 cust 1.00 ; rec1 forfeit h1 cust f1 b1 1.00 costs=x:0.99 claims=y:0.02
amounts_do_not_add_up | funded  | prep1 request d1 c-1 small 5000.00 f1 ; app1 approve d1 ; pay1 release d1 b1 ; rec1 confirm d1 ; rec1 return d1 5000.01
value_date_invalid    | funded  | rec1 fee f1 b1 1.00 value=2030-02-02
value_date_invalid    | funded  | prep1 request d1 c-1 small 5000.00 f1 ; app1 approve d1 ; pay1 release d1 b1 ; rec1 confirm d1 value=9999-12-31
offer_invalid         | funded  | dir1 offer o2 1
offer_invalid         | funded  | dir1 offer o2 1 b=1.00 a=1.00
offer_invalid         | funded  | dir1 offer o2 1 a=1.00 a=1.00
offer_invalid         | funded  | dir1 offer o2 2 a=1.00
offer_invalid         | funded  | dir1 offer o1 1 a=1.00
offer_unknown         | funded  | prep1 case c-9 o1:2
offer_unknown         | funded  | dir1 offer o1 2 small=5000.00 ; prep1 request d1 c-1 small 5000.00 f1 offer=o1:2
case_exists           | funded  | prep1 case c-1 o1:1 ref=r-9
case_exists           | funded  | prep1 case c-9 o1:1 ref=r-c-1
case_unknown          | funded  | scr1 screen c-9 cleared
case_unknown          | funded  | prep1 request d1 c-9 small 5000.00 f1
agency_unknown        | funded  | prep1 case c-9 o1:1 agency=ag9
agency_unknown        | funded  | prep1 case c-9 o1:1 agency=dir1
case_not_eligible     | funded  | prep1 case c-9 o1:1 entered=2028-12-31
screening_closed      | funded  | scr1 screen c-1 refused
disbursement_exists   | funded  | prep1 request d1 c-1 small 5000.00 f1 ; prep1 request d1 c-2 small 5000.00 f1
disbursement_unknown  | funded  | app1 approve d9
disbursement_unknown  | funded  | rec1 confirm d9
disbursement_unknown  | funded  | dir1 reverse d9
screening_open        | funded  | prep1 request d1 c-4 small 5000.00 f1
screening_refused     | funded  | prep1 request d1 c-3 small 5000.00 f1
benefit_unknown       | funded  | prep1 request d1 c-1 nothing 5000.00 f1
benefit_unknown       | funded  | prep1 request d1 c-1 small 5000.00 f1 occurrence=2
benefit_unknown       | funded  | prep1 request d1 c-1 small 5000.00 f1 occurrence=0
amount_not_offered    | funded  | prep1 request d1 c-1 small 4999.99 f1
amount_not_offered    | funded  | prep1 request d1 c-1 small 5000.01 f1
amount_not_offered    | funded  | prep1 request d1 c-1 trip 6000.01 f1
channel_not_allowed   | funded  | c1 set-policy channels= as=p ; c2 concur p ; clock 1h ; prep1 request d1 c-1 small 5000.00 f1
no_band               | funded  | prep1 request d1 c-1 huge 20000000.00 f1
no_band               | funded  | prep1 request d1 c-1 small 5000.00 f1 ; app1 approve d1 ; c1 set-policy bands= as=p ; c2 concur p ; clock 1h ; pay1 release d1 b1
expiry_invalid        | funded  | prep1 request d1 c-1 small 5000.00 f1 expires=2030-01-01T01:00:00Z
expiry_invalid        | funded  | prep1 request d1 c-1 small 5000.00 f1 expires=2030-03-02T01:00:01Z
obligation_exists     | funded  | prep1 request d1 c-1 small 5000.00 f1 ; prep1 request d2 c-1 small 5000.00 f1
disbursement_expired  | funded  | prep1 request d1 c-1 small 5000.00 f1 expires=2030-01-02T00:00:00Z ; clock 23h ; clock 1s ; app1 approve d1
request_differs       | funded  | prep1 request d1 c-1 small 5000.00 f1 ; app1 reject d1 request=other
request_differs       | funded  | prep1 request d1 c-1 small 5000.00 f1 ; prep1 cancel d1 request=other
request_differs       | funded  | prep1 request d1 c-1 small 5000.00 f1 ; app1 approve d1 ; pay1 release d1 b1 request=other
wrong_stage           | funded  | prep1 request d1 c-1 small 5000.00 f1 ; app1 approve d1 ; app2 approve d1
wrong_stage           | funded  | prep1 request d1 c-1 small 5000.00 f1 ; pay1 release d1 b1
wrong_stage           | funded  | prep1 request d1 c-1 small 5000.00 f1 ; app1 approve d1 ; pay1 release d1 b1 ; prep1 cancel d1
wrong_stage           | funded  | prep1 request d1 c-1 small 5000.00 f1 ; app1 approve d1 ; app1 reject d1
effect_differs        | funded  | prep1 request d1 c-1 small 5000.00 f1 ; app1 approve d1 request=other
effect_differs        | funded  | prep1 request d1 c-1 small 5000.00 f1 ; app1 approve d1 amount=4999.99
effect_differs        | funded  | prep1 request d1 c-1 small 5000.00 f1 ; app1 approve d1 most=5000.01
effect_differs        | funded  | prep1 request d1 c-1 small 5000.00 f1 ; app1 approve d1 benefit=trip
effect_differs        | funded  | prep1 request d1 c-1 small 5000.00 f1 ; app1 approve d1 offer=o1:2
effect_differs        | funded  | prep1 request d1 c-1 small 5000.00 f1 ; app1 approve d1 fund=f2
effect_differs        | funded  | prep1 request d1 c-1 small 5000.00 f1 ; app1 approve d1 expires=2030-01-02T00:00:00Z
effect_differs        | funded  | prep1 request d1 c-1 small 5000.00 f1 ; app1 approve d1 preparer=prep2
policy_changed        | funded  | prep1 request d1 c-1 small 5000.00 f1 ; app1 approve d1 policy=2
own_request           | funded  | all1 request d1 c-1 small 5000.00 f1 ; all1 approve d1
already_approved      | funded  | prep1 request d1 c-1 bonus 100000.00 f1 ; app1 approve d1 ; app1 approve d1
same_person           | funded  | all1 request d1 c-1 small 5000.00 f1 ; app1 approve d1 ; all1 release d1 b1
same_person           | funded  | prep1 request d1 c-1 small 5000.00 f1 ; all1 approve d1 ; all1 release d1 b1
same_person           | funded  | prep1 request d1 c-1 small 5000.00 f1 ; all1 approve d1 ; pay1 release d1 b1 ; all1 confirm d1
same_person           | funded  | prep1 request d1 c-1 small 5000.00 f1 ; app1 approve d1 ; all1 release d1 b1 ; all1 confirm d1
approvals_void        | funded  | prep1 request d1 c-1 small 5000.00 f1 ; app1 approve d1 ; c1 revoke app1 as=r ; c2 concur r ; clock 1h ; pay1 release d1 b1
invoice_too_high      | funded  | prep1 request d1 c-1 trip 5000.00 f1 ; app1 approve d1 ; prep1 deliver d1 5000.01
report_unknown        | funded  | prep1 request d1 c-1 small 5000.00 f1 as=r ; rec1 countersign r
report_unknown        | funded  | rec1 fee f1 b1 1.00 as=r ; rec2 countersign r
report_unknown        | funded  | c1 set-policy bank_report_persons=2 as=p ; c2 concur p ; clock 1h ; rec1 fee f1 b1 1.00 as=r life=1h ; clock 3601s ; rec2 countersign r
already_signed        | funded  | c1 set-policy bank_report_persons=2 as=p ; c2 concur p ; clock 1h ; rec1 fee f1 b1 1.00 as=r ; rec1 countersign r
nothing_to_reverse    | funded  | prep1 request d1 c-1 small 5000.00 f1 as=r ; dir1 reverse r
nothing_to_reverse    | funded  | prep1 request d1 c-1 small 5000.00 f1 ; app1 approve d1 ; dir1 reverse d1
nothing_to_reverse    | funded  | rec1 fee f1 b1 1.00 as=r ; dir1 reverse r ; dir1 reverse r
nothing_to_reverse    | funded  | rec1 fee f1 b1 1.00 as=r ; rec1 fee f1 b1 2.00 as=s ; dir1 reverse r entry=s
nothing_to_reverse    | funded  | prep1 request d1 c-1 small 5000.00 f1 ; app1 approve d1 ; pay1 release d1 b1 as=r ; rec1 confirm d1 ; dir1 reverse d1 entry=r
lapse_not_due         | funded  | prep1 request d1 c-1 small 5000.00 f1 ; lapse d1
lapse_not_due         | funded  | prep1 request d1 c-1 small 5000.00 f1 expires=2030-01-02T00:00:00Z ; clock 23h ; lapse d1
fund_blocked          | funded  | rec1 fee f2 b2 20000.01 ; prep1 request d1 c-1 small 5000.00 f2
bank_overdrawn        | funded  | prep1 request d1 c-1 small 5000.00 f2 ; app1 approve d1 ; rec1 fee f2 b2 20000.01 ; pay1 release d1 b2
insufficient_funds    | funded  | prep1 request d1 c-1 bonus 100000.00 f2
insufficient_funds    | funded  | prep1 request d1 c-1 small 5000.00 f1 ; app1 approve d1 ; pay1 release d1 b2
insufficient_funds    | funded  | rec1 forfeit h1 cust f1 b1 0.01
insufficient_funds    | funded  | rec1 pay-claim h1 cust claimant y 800000.01
amount_too_large      | funded  | rec1 restrain h1 999999999999999.99 ; rec1 restrain h1 0.01
amount_too_large      | funded  | rec1 custody h2 cust 999999999999999.99 ; rec1 custody h2 cust 0.01
";

#[test]
fn every_code_is_refused_somewhere() {
    let (mut produced, mut surprises) = (BTreeSet::new(), vec![]);
    for row in REFUSALS.lines().filter(|row| !row.is_empty()) {
        let [code, begin, script] = row.split('|').map(str::trim).collect::<Vec<_>>()[..] else {
            panic!("{row}")
        };
        let mut world = stage(begin);
        let (before, last) = script.rsplit_once(';').unwrap_or(("", script));
        world.run(before);
        let (state, records) = (world.state.clone(), world.records.len());
        let refused = code_of(&world.line(last.trim())).map(Code::as_str);
        if refused != Some(code) {
            surprises.push(format!("{refused:?} instead of {row}"));
        }
        // A refusal leaves nothing but, perhaps, the group that it would have stood in.
        assert!(world.records.len() <= records + 1, "{row}");
        let grown = world.state.entities().count() - state.entities().count();
        assert!(
            grown <= 1
                && state.balances().all(|(key, balance)| world.state.balances().any(|b| b == (key, balance)))
        );
        produced.insert(refused);
    }
    assert_eq!(surprises, [""; 0]);
    let never: Vec<&str> =
        Code::ALL.iter().map(|code| code.as_str()).filter(|code| !produced.contains(&Some(code))).collect();
    assert_eq!(never, [""; 0], "no row is refused with these");
}
