-- Roles belong to the whole cluster, and several of its databases may be migrated at once.
DO $$
DECLARE
    wanted record;
BEGIN
    FOR wanted IN
        VALUES ('safeconduct_owner', 'NOLOGIN'), ('safeconduct_service', 'LOGIN'),
               ('safeconduct_agency', 'LOGIN'), ('safeconduct_read', 'LOGIN')
    LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted.column1) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I %s', wanted.column1, wanted.column2);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL; -- another database's migration was faster
            END;
        END IF;
    END LOOP;
END
$$;

-- In the large tables, columns of a fixed width come first, so that little is lost to their alignment.

-- The keys that records are signed with. Only appended to.
CREATE TABLE signing_keys (
    key   integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    keyid bytea NOT NULL UNIQUE CHECK (length(keyid) = 32)
);

-- The log. Only appended to. Payloads are packed (crates/store/src/packed.rs).
CREATE TABLE records (
    -- Nothing is ever put between two others.
    position  bigint PRIMARY KEY WITH (fillfactor = 100) CHECK (position >= 0),
    key       integer NOT NULL,
    kind      smallint NOT NULL,
    payload   bytea NOT NULL,
    signature bytea NOT NULL CHECK (length(signature) = 64)
);
-- The same with the keys' ids.
CREATE VIEW envelopes AS
SELECT r.position, r.kind, k.keyid, r.payload, r.signature
FROM records r
JOIN signing_keys k ON k.key = r.key;

-- The one row that orders all writers: whoever holds its lock appends the next group.
CREATE TABLE head (
    one         boolean PRIMARY KEY DEFAULT true CHECK (one),
    size        bigint NOT NULL DEFAULT 0 CHECK (size >= 0),
    root        bytea NOT NULL CHECK (length(root) = 32),
    frontier    bytea NOT NULL,
    recorded_at bigint NOT NULL DEFAULT 0,
    forked      boolean NOT NULL DEFAULT false
);
-- The RFC 6962 root and the frontier of no records.
INSERT INTO head (root, frontier) VALUES (sha256(''), '\x0000000000000000');

-- What the rules read, by key, as packed JSON; a function of the log. That of a disbursement is in `disbursements`.
CREATE TABLE entities (
    key   text PRIMARY KEY,
    value bytea NOT NULL
);

-- Which instructions were accepted, until their not_after.
CREATE TABLE instructions (
    position  bigint NOT NULL,
    not_after bigint NOT NULL,
    signer    text NOT NULL,
    id        uuid NOT NULL,
    digest    bytea NOT NULL CHECK (length(digest) = 32),
    -- Ids begin with the time, so new ones stand together at the end.
    PRIMARY KEY (id, signer)
);

-- Funds, for the proofs.
CREATE TABLE funds (
    fund     text PRIMARY KEY,
    asset    text NOT NULL,
    currency text NOT NULL,
    kind     text NOT NULL CHECK (kind IN ('fiduciary', 'spendable'))
);

-- The journal: d debit, c credit, h hold, p post a hold, v void a hold. Only appended to.
CREATE TABLE postings (
    entry    bigint NOT NULL,
    line     smallint NOT NULL,
    action   "char" NOT NULL CHECK (action IN ('d', 'c', 'h', 'p', 'v')),
    account  text NOT NULL,
    fund     text NOT NULL,
    currency text NOT NULL,
    amount   numeric NOT NULL CHECK (amount > 0 AND amount < 1e15),
    hold     text,
    CHECK ((hold IS NOT NULL) = (action IN ('h', 'p', 'v')))
);
CREATE INDEX postings_account ON postings (account, fund, entry);
CREATE UNIQUE INDEX postings_hold_placed_once ON postings (hold) WHERE action = 'h';
CREATE UNIQUE INDEX postings_hold_resolved_once ON postings (hold) WHERE action IN ('p', 'v');

-- Balances on each account's normal side. Only the trigger below writes here.
CREATE TABLE balances (
    account  text NOT NULL,
    fund     text NOT NULL,
    currency text NOT NULL,
    code     smallint NOT NULL,
    amount   numeric NOT NULL,
    held     numeric NOT NULL,
    PRIMARY KEY (account, fund, currency),
    CONSTRAINT balances_bounds CHECK (abs(amount) < 1e15 AND held >= 0),
    -- Suspense, net assets, income, expense, position and memo contra may go either way.
    CONSTRAINT balances_limit CHECK (
        amount >= held OR code IN (2500, 3100, 6100, 8900) OR code BETWEEN 4100 AND 4199 OR code BETWEEN 5100 AND 5199
    )
);
CREATE INDEX balances_fund ON balances (fund, account);

CREATE FUNCTION is_debit_account(code smallint) RETURNS boolean
LANGUAGE sql IMMUTABLE
AS $$
    SELECT code BETWEEN 1000 AND 1999 OR code BETWEEN 5000 AND 5999 OR code IN (6100, 7100, 7900, 8100, 8200)
$$;

-- P1 to P4 for spendable funds and the custody proof for fiduciary ones: what is added up, with its sign, on the left and on
-- the right side of each.
CREATE TABLE proof_terms (
    kind     text NOT NULL,
    proof    text NOT NULL,
    is_left  boolean NOT NULL,
    low      smallint NOT NULL,
    high     smallint NOT NULL,
    sign     smallint NOT NULL,
    PRIMARY KEY (kind, low, proof)
);
INSERT INTO proof_terms (kind, proof, is_left, low, high, sign) VALUES
    -- Resources and shortfall; unallotted, available, obligated, accrued, paid.
    ('spendable', 'P1', true, 7100, 7100, 1), ('spendable', 'P1', true, 7900, 7900, 1),
    ('spendable', 'P1', false, 7200, 7200, 1), ('spendable', 'P1', false, 7210, 7210, 1),
    ('spendable', 'P1', false, 7300, 7300, 1), ('spendable', 'P1', false, 7400, 7400, 1),
    ('spendable', 'P1', false, 7500, 7500, 1),
    -- Accrued; payables and what is outstanding.
    ('spendable', 'P2', true, 7400, 7400, 1),
    ('spendable', 'P2', false, 2100, 2100, 1), ('spendable', 'P2', false, 2200, 2200, 1),
    -- Cash and advances less overdrawn; unallotted, available, obligated and accrued less shortfall.
    ('spendable', 'P3', true, 1100, 1100, 1), ('spendable', 'P3', true, 1300, 1300, 1),
    ('spendable', 'P3', true, 2600, 2600, -1),
    ('spendable', 'P3', false, 7200, 7200, 1), ('spendable', 'P3', false, 7210, 7210, 1),
    ('spendable', 'P3', false, 7300, 7300, 1), ('spendable', 'P3', false, 7400, 7400, 1),
    ('spendable', 'P3', false, 7900, 7900, -1),
    -- Net assets and income less expense; unallotted, available, obligated and receivables less shortfall.
    ('spendable', 'P4', true, 3100, 3100, 1), ('spendable', 'P4', true, 4100, 4199, 1),
    ('spendable', 'P4', true, 5100, 5199, -1),
    ('spendable', 'P4', false, 7200, 7200, 1), ('spendable', 'P4', false, 7210, 7210, 1),
    ('spendable', 'P4', false, 7300, 7300, 1), ('spendable', 'P4', false, 1200, 1200, 1),
    ('spendable', 'P4', false, 7900, 7900, -1),
    -- What is in custody; what its owner claims, and payables.
    ('fiduciary', 'custody', true, 1150, 1150, 1),
    ('fiduciary', 'custody', false, 2300, 2300, 1), ('fiduciary', 'custody', false, 2100, 2100, 1);

-- The proofs as they stand, in each fund's own currency.
CREATE VIEW fund_proofs AS
SELECT f.fund, p.proof, p.left_side, p.right_side, p.left_side - p.right_side AS difference
FROM funds f
CROSS JOIN LATERAL (
    SELECT t.proof,
        coalesce(sum(t.sign * n.amount) FILTER (WHERE t.is_left), 0) AS left_side,
        coalesce(sum(t.sign * n.amount) FILTER (WHERE NOT t.is_left), 0) AS right_side
    FROM proof_terms t
    LEFT JOIN (
        SELECT b.code, sum(b.amount) AS amount
        FROM balances b
        WHERE b.fund = f.fund AND b.currency = f.currency
        GROUP BY b.code
    ) n ON n.code BETWEEN t.low AND t.high
    WHERE t.kind = f.kind
    GROUP BY t.proof
) p;

-- A statement inserts all rows of a group. It is refused as a whole where an entry does not balance per plane, fund and
-- currency, where a hold is resolved that is not there, where there is no such fund, where a limit would break, or where it would
-- move a proof: they are sums of balances that begin at zero, so a proof that no statement moves holds.
CREATE FUNCTION keep_balances() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    unbalanced text;
    unheld text;
    unproven text;
    has_new boolean;
BEGIN
    -- Together, as a statement costs more than the rows of a small group.
    SELECT
        (SELECT format('entry %s does not balance in fund %s and %s', n.entry, n.fund, n.currency)
            FROM added n
            WHERE n.action IN ('d', 'c')
            GROUP BY n.entry, n.fund, n.currency,
                CASE left(n.account, 1) WHEN '7' THEN 'budget' WHEN '8' THEN 'memo' ELSE 'proprietary' END
            HAVING sum(CASE n.action WHEN 'd' THEN n.amount ELSE -n.amount END) <> 0
            LIMIT 1),
        (SELECT format('hold %s is not there, or of another account or amount', n.hold)
            FROM added n
            WHERE n.action IN ('p', 'v') AND NOT EXISTS (
                SELECT FROM public.postings h
                WHERE h.action = 'h' AND h.hold = n.hold AND h.account = n.account AND h.fund = n.fund
                    AND h.currency = n.currency AND h.amount = n.amount
            )
            LIMIT 1),
        (SELECT format('proof %s of fund %s would be off', t.proof, f.fund)
            FROM (
                SELECT fund, currency, left(account, 4)::smallint AS code,
                    sum(CASE action WHEN 'd' THEN amount ELSE -amount END)
                        * CASE WHEN is_debit_account(left(account, 4)::smallint) THEN 1 ELSE -1 END AS amount
                FROM added
                WHERE action IN ('d', 'c')
                GROUP BY fund, currency, left(account, 4)
            ) n
            JOIN public.funds f ON f.fund = n.fund AND f.currency = n.currency
            JOIN public.proof_terms t ON t.kind = f.kind AND n.code BETWEEN t.low AND t.high
            GROUP BY f.fund, t.proof
            HAVING sum(CASE WHEN t.is_left THEN t.sign ELSE -t.sign END * n.amount) <> 0
            LIMIT 1),
        EXISTS (
            SELECT FROM added n
            WHERE NOT EXISTS (
                SELECT FROM public.balances b
                WHERE b.account = n.account AND b.fund = n.fund AND b.currency = n.currency
            ))
    INTO unbalanced, unheld, unproven, has_new;
    IF unbalanced IS NOT NULL THEN
        RAISE EXCEPTION '%', unbalanced
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'postings_balance';
    ELSIF unheld IS NOT NULL THEN
        RAISE EXCEPTION '%', unheld USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'postings_hold';
    ELSIF unproven IS NOT NULL THEN
        RAISE EXCEPTION '%', unproven USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'fund_proofs';
    END IF;

    -- The check constraints judge a row before ON CONFLICT does, so a decrease has to be an update.
    IF has_new THEN
        IF EXISTS (SELECT FROM added n WHERE NOT EXISTS (SELECT FROM public.funds f WHERE f.fund = n.fund)) THEN
            RAISE EXCEPTION 'there is no such fund'
                USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'postings_fund';
        END IF;
        INSERT INTO public.balances (account, fund, currency, code, amount, held)
        SELECT DISTINCT n.account, n.fund, n.currency, left(n.account, 4)::smallint, 0, 0
        FROM added n
        ON CONFLICT DO NOTHING;
    END IF;
    WITH delta AS (
        SELECT n.account, n.fund, n.currency,
            sum(CASE n.action WHEN 'd' THEN n.amount WHEN 'c' THEN -n.amount ELSE 0 END)
                * CASE WHEN is_debit_account(left(n.account, 4)::smallint) THEN 1 ELSE -1 END AS amount,
            sum(CASE n.action WHEN 'h' THEN n.amount WHEN 'p' THEN -n.amount WHEN 'v' THEN -n.amount ELSE 0 END) AS held
        FROM added n
        GROUP BY n.account, n.fund, n.currency
    )
    UPDATE public.balances b
    SET amount = b.amount + d.amount, held = b.held + d.held
    FROM delta d
    WHERE b.account = d.account AND b.fund = d.fund AND b.currency = d.currency;
    RETURN NULL;
END
$$;

CREATE TRIGGER keep_balances AFTER INSERT ON postings
REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION keep_balances();

-- Signed checkpoints (those of heads that become public are marked), and the complete tiles of 256 hashes that proofs are made of. Only appended to.
CREATE TABLE checkpoints (
    size      bigint PRIMARY KEY,
    note      text NOT NULL,
    is_public boolean NOT NULL DEFAULT false,
    signed_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX public_heads ON checkpoints (size) WHERE is_public;
-- Those that as many witnesses cosigned as policy demanded, with the cosignatures, which speak for themselves.
CREATE TABLE cosigned (
    size bigint PRIMARY KEY,
    note text NOT NULL
);
CREATE TABLE tiles (
    level  smallint NOT NULL,
    index  bigint NOT NULL,
    hashes bytea NOT NULL CHECK (length(hashes) = 8192),
    root   bytea NOT NULL CHECK (length(root) = 32),
    PRIMARY KEY (level, index)
);

-- Tables for queries: a function of the log, written by the service with each group.
CREATE TABLE cases (
    case_ref      text PRIMARY KEY,
    agency        text NOT NULL,
    agency_ref    text NOT NULL UNIQUE,
    entered       text NOT NULL,
    offer         text NOT NULL,
    offer_version bigint NOT NULL,
    screening     text NOT NULL CHECK (screening IN ('open', 'cleared', 'refused'))
);
CREATE INDEX cases_agency ON cases (agency, agency_ref);
-- Four bytes in a row and in an index, where the word has up to ten.
CREATE TYPE stage AS ENUM
    ('requested', 'obligated', 'due', 'released', 'paid', 'rejected', 'cancelled', 'lapsed');
CREATE TABLE disbursements (
    expires      bigint NOT NULL,
    stage        stage NOT NULL,
    can_lapse    boolean NOT NULL,
    disbursement text PRIMARY KEY,
    agency       text NOT NULL,
    agency_ref   text NOT NULL,
    fund         text NOT NULL,
    benefit      text NOT NULL,
    currency     text NOT NULL,
    amount       numeric NOT NULL,
    -- What the rules read of it, as packed JSON.
    state        bytea NOT NULL
);
CREATE INDEX disbursements_agency ON disbursements (agency, agency_ref);
CREATE INDEX disbursements_stage ON disbursements (stage, disbursement);
CREATE INDEX disbursements_lapse ON disbursements (expires) WHERE can_lapse;
CREATE TABLE statement_lines (
    position     bigint NOT NULL,
    at           bigint NOT NULL,
    event        stage NOT NULL,
    agency       text NOT NULL,
    agency_ref   text NOT NULL,
    disbursement text NOT NULL,
    benefit      text NOT NULL,
    currency     text NOT NULL,
    amount       numeric NOT NULL,
    PRIMARY KEY (agency, agency_ref, position)
);
CREATE TABLE reports (
    report   text PRIMARY KEY,
    position bigint NOT NULL,
    kind     text NOT NULL,
    status   text NOT NULL CHECK (status IN ('waiting', 'posted', 'reversed'))
);
CREATE INDEX reports_position ON reports (position);
CREATE TABLE proposals (
    proposal text PRIMARY KEY,
    position bigint NOT NULL
);

-- Appends a group: all of it, or nothing where the log does not end with the head that it follows. One statement, so that it
-- costs one message and commits by itself where there is no transaction around it. Columns of a table have as many cells as
-- it gets rows; unnested side by side, which is cheaper than from a function in FROM. Where all of a table's are new, there is
-- nothing to look for before they are inserted. With `tell`, other processes hear of the
-- new head. It is the only way in which the service's role writes the ledger.
CREATE FUNCTION append_group(
    known_size bigint, known_root bytea, known_forked boolean,
    new_size bigint, new_root bytea, new_frontier bytea, new_recorded_at bigint,
    record_kinds smallint[], record_keys bytea[], record_payloads bytea[], record_signatures bytea[],
    fund_ids text[], fund_assets text[], fund_currencies text[], fund_kinds text[],
    posting_entries bigint[], posting_lines smallint[], posting_actions "char"[], posting_accounts text[],
    posting_funds text[], posting_currencies text[], posting_amounts text[], posting_holds text[],
    entity_keys text[], entity_values bytea[], entities_are_new boolean, entities_ended text[],
    instruction_signers text[], instruction_ids text[], instruction_digests bytea[], instruction_positions bigint[],
    instruction_ends bigint[], instructions_are_new boolean, instructions_end_before bigint,
    case_refs text[], case_agencies text[], case_agency_refs text[], cases_entered text[], case_offers text[],
    case_offer_versions bigint[], case_screenings text[],
    disbursement_ids text[], disbursement_agencies text[], disbursement_agency_refs text[], disbursement_funds text[],
    disbursement_benefits text[], disbursement_stages text[], disbursement_currencies text[],
    disbursement_amounts text[], disbursements_expire bigint[], disbursements_can_lapse boolean[],
    disbursement_states bytea[], disbursements_are_new boolean,
    line_agencies text[], line_agency_refs text[], line_positions bigint[], line_disbursements text[],
    line_events text[], line_benefits text[], line_currencies text[], line_amounts text[],
    report_ids text[], report_positions bigint[], report_kinds text[], report_statuses text[],
    changed_reports text[], changed_statuses text[],
    proposal_ids text[], proposal_positions bigint[],
    tell boolean
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    has_new_key boolean;
BEGIN
    IF new_size <= known_size OR new_size <> known_size + cardinality(record_kinds) THEN
        RAISE EXCEPTION 'the head does not grow by the group''s records'
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'head_grows';
    END IF;
    UPDATE public.head
    SET size = new_size, root = new_root, frontier = new_frontier, recorded_at = new_recorded_at
    WHERE size = known_size AND root = known_root AND forked = known_forked
    RETURNING EXISTS (
        SELECT FROM unnest(record_keys) r (keyid)
        WHERE NOT EXISTS (SELECT FROM public.signing_keys k WHERE k.keyid = r.keyid)
    ) INTO has_new_key;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the log does not end with this head any more' USING ERRCODE = 'serialization_failure';
    END IF;
    IF has_new_key THEN
        INSERT INTO public.signing_keys (keyid) SELECT DISTINCT unnest(record_keys) ON CONFLICT (keyid) DO NOTHING;
    END IF;
    INSERT INTO public.records (position, key, kind, payload, signature)
    SELECT r.position, (SELECT k.key FROM public.signing_keys k WHERE k.keyid = r.keyid), r.kind, r.payload, r.signature
    FROM (
        SELECT generate_series(known_size, new_size - 1) AS position, unnest(record_kinds) AS kind,
            unnest(record_keys) AS keyid, unnest(record_payloads) AS payload, unnest(record_signatures) AS signature
    ) r;
    -- Before the postings, whose trigger looks at them.
    IF cardinality(fund_ids) > 0 THEN
        INSERT INTO public.funds (fund, asset, currency, kind)
        SELECT unnest(fund_ids), unnest(fund_assets), unnest(fund_currencies), unnest(fund_kinds);
    END IF;
    IF cardinality(posting_entries) > 0 THEN
        INSERT INTO public.postings (entry, line, action, account, fund, currency, amount, hold)
        SELECT unnest(posting_entries), unnest(posting_lines), unnest(posting_actions), unnest(posting_accounts),
            unnest(posting_funds), unnest(posting_currencies), unnest(posting_amounts)::numeric, unnest(posting_holds);
    END IF;
    IF entities_are_new AND cardinality(entity_keys) > 0 THEN
        INSERT INTO public.entities (key, value)
        SELECT unnest(entity_keys), unnest(entity_values);
    ELSIF cardinality(entity_keys) > 0 THEN
        INSERT INTO public.entities (key, value)
        SELECT unnest(entity_keys), unnest(entity_values)
        ON CONFLICT (key) DO UPDATE SET value = excluded.value;
    END IF;
    IF cardinality(entities_ended) > 0 THEN
        DELETE FROM public.entities WHERE key = ANY (entities_ended);
    END IF;
    IF instructions_end_before IS NOT NULL THEN
        DELETE FROM public.instructions WHERE not_after < instructions_end_before;
    END IF;
    IF instructions_are_new AND cardinality(instruction_ids) > 0 THEN
        INSERT INTO public.instructions (signer, id, digest, position, not_after)
        SELECT unnest(instruction_signers), unnest(instruction_ids)::uuid, unnest(instruction_digests),
            unnest(instruction_positions), unnest(instruction_ends);
    ELSIF cardinality(instruction_ids) > 0 THEN
        INSERT INTO public.instructions (signer, id, digest, position, not_after)
        SELECT unnest(instruction_signers), unnest(instruction_ids)::uuid, unnest(instruction_digests),
            unnest(instruction_positions), unnest(instruction_ends)
        ON CONFLICT (id, signer) DO UPDATE
        SET digest = excluded.digest, position = excluded.position, not_after = excluded.not_after;
    END IF;
    IF cardinality(case_refs) > 0 THEN
        INSERT INTO public.cases (case_ref, agency, agency_ref, entered, offer, offer_version, screening)
        SELECT unnest(case_refs), unnest(case_agencies), unnest(case_agency_refs), unnest(cases_entered),
            unnest(case_offers), unnest(case_offer_versions), unnest(case_screenings)
        ON CONFLICT (case_ref) DO UPDATE
        SET agency = excluded.agency, agency_ref = excluded.agency_ref, entered = excluded.entered,
            offer = excluded.offer, offer_version = excluded.offer_version, screening = excluded.screening;
    END IF;
    IF disbursements_are_new AND cardinality(disbursement_ids) > 0 THEN
        INSERT INTO public.disbursements
            (disbursement, agency, agency_ref, fund, benefit, stage, currency, amount, expires, can_lapse, state)
        SELECT unnest(disbursement_ids), unnest(disbursement_agencies), unnest(disbursement_agency_refs),
            unnest(disbursement_funds), unnest(disbursement_benefits), unnest(disbursement_stages)::public.stage,
            unnest(disbursement_currencies), unnest(disbursement_amounts)::numeric, unnest(disbursements_expire),
            unnest(disbursements_can_lapse), unnest(disbursement_states);
    ELSIF cardinality(disbursement_ids) > 0 THEN
        INSERT INTO public.disbursements
            (disbursement, agency, agency_ref, fund, benefit, stage, currency, amount, expires, can_lapse, state)
        SELECT unnest(disbursement_ids), unnest(disbursement_agencies), unnest(disbursement_agency_refs),
            unnest(disbursement_funds), unnest(disbursement_benefits), unnest(disbursement_stages)::public.stage,
            unnest(disbursement_currencies), unnest(disbursement_amounts)::numeric, unnest(disbursements_expire),
            unnest(disbursements_can_lapse), unnest(disbursement_states)
        ON CONFLICT (disbursement) DO UPDATE
        SET agency = excluded.agency, agency_ref = excluded.agency_ref, fund = excluded.fund,
            benefit = excluded.benefit, stage = excluded.stage, currency = excluded.currency,
            amount = excluded.amount, expires = excluded.expires, can_lapse = excluded.can_lapse,
            state = excluded.state;
    END IF;
    IF cardinality(line_positions) > 0 THEN
        INSERT INTO public.statement_lines
            (agency, agency_ref, position, disbursement, at, event, benefit, currency, amount)
        SELECT unnest(line_agencies), unnest(line_agency_refs), unnest(line_positions), unnest(line_disbursements),
            new_recorded_at, unnest(line_events)::public.stage, unnest(line_benefits), unnest(line_currencies),
            unnest(line_amounts)::numeric;
    END IF;
    IF cardinality(report_ids) > 0 THEN
        INSERT INTO public.reports (report, position, kind, status)
        SELECT unnest(report_ids), unnest(report_positions), unnest(report_kinds), unnest(report_statuses);
    END IF;
    IF cardinality(changed_reports) > 0 THEN
        UPDATE public.reports SET status = c.status
        FROM unnest(changed_reports, changed_statuses) AS c (report, status)
        WHERE reports.report = c.report;
    END IF;
    IF cardinality(proposal_ids) > 0 THEN
        INSERT INTO public.proposals (proposal, position)
        SELECT unnest(proposal_ids), unnest(proposal_positions);
    END IF;
    IF tell THEN
        NOTIFY safeconduct_head;
    END IF;
END
$$;

-- Which agency read what, and when.
CREATE TABLE reads (
    at         timestamptz NOT NULL DEFAULT now(),
    agency     text NOT NULL,
    resource   text NOT NULL,
    agency_ref text
);

-- An agency's pool sees the rows of the agency that its transaction names, and never a case reference.
ALTER TABLE cases ENABLE ROW LEVEL SECURITY;
ALTER TABLE disbursements ENABLE ROW LEVEL SECURITY;
ALTER TABLE statement_lines ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_cases ON cases FOR SELECT TO safeconduct_agency
    USING (agency = current_setting('safeconduct.agency', true));
CREATE POLICY own_disbursements ON disbursements FOR SELECT TO safeconduct_agency
    USING (agency = current_setting('safeconduct.agency', true));
CREATE POLICY own_lines ON statement_lines FOR SELECT TO safeconduct_agency
    USING (agency = current_setting('safeconduct.agency', true));
CREATE POLICY service_cases ON cases FOR SELECT TO safeconduct_service, safeconduct_read USING (true);
CREATE POLICY service_disbursements ON disbursements FOR SELECT TO safeconduct_service, safeconduct_read USING (true);
CREATE POLICY service_lines ON statement_lines FOR SELECT TO safeconduct_service, safeconduct_read USING (true);

-- Who may do what. The owner cannot log in; nothing that can log in may change or remove what was appended.
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO safeconduct_owner, safeconduct_service, safeconduct_agency, safeconduct_read;
REVOKE ALL ON FUNCTION keep_balances(), append_group FROM PUBLIC;
GRANT EXECUTE ON FUNCTION append_group TO safeconduct_service;
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['records', 'signing_keys', 'head', 'entities', 'instructions', 'funds', 'postings', 'balances',
        'proof_terms', 'checkpoints', 'cosigned', 'tiles', 'cases', 'disbursements', 'statement_lines', 'reports',
        'proposals', 'reads']
    LOOP
        EXECUTE format('ALTER TABLE %I OWNER TO safeconduct_owner', name);
        EXECUTE format('GRANT SELECT ON %I TO safeconduct_service, safeconduct_read', name);
    END LOOP;
END
$$;
ALTER VIEW envelopes OWNER TO safeconduct_owner;
ALTER VIEW fund_proofs OWNER TO safeconduct_owner;
ALTER FUNCTION keep_balances() OWNER TO safeconduct_owner;
ALTER FUNCTION append_group OWNER TO safeconduct_owner;
GRANT SELECT ON envelopes, fund_proofs TO safeconduct_service, safeconduct_read;
GRANT INSERT ON checkpoints, cosigned, tiles, reads TO safeconduct_service;
GRANT UPDATE (note) ON cosigned TO safeconduct_service;
-- Also for its lock.
GRANT UPDATE (forked) ON head TO safeconduct_service;
GRANT SELECT (agency, agency_ref, entered, screening) ON cases TO safeconduct_agency;
GRANT SELECT (disbursement, agency, agency_ref, benefit, stage, currency, amount) ON disbursements TO safeconduct_agency;
GRANT SELECT (agency, agency_ref, position, disbursement, at, event, benefit, currency, amount) ON statement_lines
    TO safeconduct_agency;
GRANT SELECT (size, recorded_at) ON head TO safeconduct_agency;
