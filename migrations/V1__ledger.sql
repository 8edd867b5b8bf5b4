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

-- The log. Only appended to. Payloads are packed (crates/store/src/packed.rs).
CREATE TABLE records (
    position  bigint PRIMARY KEY CHECK (position >= 0),
    kind      smallint NOT NULL,
    keyid     bytea NOT NULL CHECK (length(keyid) = 32),
    payload   bytea NOT NULL,
    signature bytea NOT NULL CHECK (length(signature) = 64)
);

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

-- Takes the head's lock where the log still ends with this head, and fails otherwise.
CREATE FUNCTION follow_head(known_size bigint, known_root bytea) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    PERFORM FROM public.head WHERE size = known_size AND root = known_root AND NOT forked FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the log does not end with this head any more' USING ERRCODE = 'serialization_failure';
    END IF;
END
$$;

-- What the rules read, by key, as packed JSON; a function of the log. That of a disbursement is in `disbursements`.
CREATE TABLE entities (
    key   text PRIMARY KEY,
    value bytea NOT NULL
);

-- Which instructions were accepted, until their not_after.
CREATE TABLE instructions (
    signer    text NOT NULL,
    id        uuid NOT NULL,
    digest    bytea NOT NULL CHECK (length(digest) = 32),
    position  bigint NOT NULL,
    not_after bigint NOT NULL,
    PRIMARY KEY (signer, id)
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

-- The same, summed by account code: what the proofs are made of.
CREATE TABLE fund_totals (
    fund     text NOT NULL,
    currency text NOT NULL,
    code     smallint NOT NULL,
    amount   numeric NOT NULL,
    held     numeric NOT NULL,
    PRIMARY KEY (fund, currency, code)
);

CREATE FUNCTION is_debit_account(code smallint) RETURNS boolean
LANGUAGE sql IMMUTABLE
AS $$
    SELECT code BETWEEN 1000 AND 1999 OR code BETWEEN 5000 AND 5999 OR code IN (6100, 7100, 7900, 8100, 8200)
$$;

-- A statement inserts all rows of a group. It is refused as a whole where an entry does not balance per plane, fund and
-- currency, where a hold is resolved that is not there, where a limit would break, or where P1 to P4 would not hold.
CREATE FUNCTION keep_balances() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
-- Plans are made once a session, perhaps while tables are small: they have to be by index whatever the sizes are then.
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off
AS $$
DECLARE
    wrong record;
BEGIN
    SELECT n.entry, n.fund, n.currency INTO wrong
    FROM added n
    WHERE n.action IN ('d', 'c')
    GROUP BY n.entry, n.fund, n.currency,
        CASE left(n.account, 1) WHEN '7' THEN 'budget' WHEN '8' THEN 'memo' ELSE 'proprietary' END
    HAVING sum(CASE n.action WHEN 'd' THEN n.amount ELSE -n.amount END) <> 0
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'entry % does not balance in fund % and %', wrong.entry, wrong.fund, wrong.currency
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'postings_balance';
    END IF;

    SELECT n.hold INTO wrong
    FROM added n
    WHERE n.action IN ('p', 'v') AND NOT EXISTS (
        SELECT FROM public.postings h
        WHERE h.action = 'h' AND h.hold = n.hold AND h.account = n.account AND h.fund = n.fund
            AND h.currency = n.currency AND h.amount = n.amount
    )
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'hold % is not there, or of another account or amount', wrong.hold
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'postings_hold';
    END IF;

    -- The check constraints judge a row before ON CONFLICT does, so a decrease has to be an update.
    INSERT INTO public.balances (account, fund, currency, code, amount, held)
    SELECT DISTINCT n.account, n.fund, n.currency, left(n.account, 4)::smallint, 0, 0
    FROM added n
    ON CONFLICT DO NOTHING;
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

    INSERT INTO public.fund_totals AS t (fund, currency, code, amount, held)
    SELECT n.fund, n.currency, left(n.account, 4)::smallint,
        sum(CASE n.action WHEN 'd' THEN n.amount WHEN 'c' THEN -n.amount ELSE 0 END)
            * CASE WHEN is_debit_account(left(n.account, 4)::smallint) THEN 1 ELSE -1 END,
        sum(CASE n.action WHEN 'h' THEN n.amount WHEN 'p' THEN -n.amount WHEN 'v' THEN -n.amount ELSE 0 END)
    FROM added n
    GROUP BY n.fund, n.currency, left(n.account, 4)
    ON CONFLICT (fund, currency, code) DO UPDATE
    SET amount = t.amount + excluded.amount, held = t.held + excluded.held;

    SELECT p.fund, p.proof, p.difference INTO wrong
    FROM public.fund_proofs p
    WHERE p.difference <> 0 AND p.fund IN (SELECT n.fund FROM added n)
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'proof % of fund % is off by %', wrong.proof, wrong.fund, wrong.difference
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'fund_proofs';
    END IF;
    RETURN NULL;
END
$$;

-- P1 to P4 for spendable funds and the custody proof for fiduciary ones, in the fund's own currency.
CREATE VIEW fund_proofs AS
SELECT f.fund, p.proof, p.left_side, p.right_side, p.left_side - p.right_side AS difference
FROM funds f
CROSS JOIN LATERAL (
    SELECT
        coalesce(sum(amount) FILTER (WHERE code = 1100), 0) AS cash,
        coalesce(sum(amount) FILTER (WHERE code = 1150), 0) AS custody,
        coalesce(sum(amount) FILTER (WHERE code = 1200), 0) AS receivables,
        coalesce(sum(amount) FILTER (WHERE code = 1300), 0) AS advances,
        coalesce(sum(amount) FILTER (WHERE code = 2100), 0) AS payables,
        coalesce(sum(amount) FILTER (WHERE code = 2200), 0) AS outstanding,
        coalesce(sum(amount) FILTER (WHERE code = 2300), 0) AS owner_claim,
        coalesce(sum(amount) FILTER (WHERE code = 2600), 0) AS overdrawn,
        coalesce(sum(amount) FILTER (WHERE code = 3100), 0)
            + coalesce(sum(amount) FILTER (WHERE code BETWEEN 4100 AND 4199), 0)
            - coalesce(sum(amount) FILTER (WHERE code BETWEEN 5100 AND 5199), 0) AS net_assets,
        coalesce(sum(amount) FILTER (WHERE code = 7100), 0) AS resources,
        coalesce(sum(amount) FILTER (WHERE code IN (7200, 7210)), 0) AS unspent,
        coalesce(sum(amount) FILTER (WHERE code = 7300), 0) AS obligated,
        coalesce(sum(amount) FILTER (WHERE code = 7400), 0) AS accrued,
        coalesce(sum(amount) FILTER (WHERE code = 7500), 0) AS paid,
        coalesce(sum(amount) FILTER (WHERE code = 7900), 0) AS shortfall
    FROM fund_totals t
    WHERE t.fund = f.fund AND t.currency = f.currency
) s
CROSS JOIN LATERAL (
    VALUES
        ('spendable', 'P1', s.resources + s.shortfall, s.unspent + s.obligated + s.accrued + s.paid),
        ('spendable', 'P2', s.accrued, s.payables + s.outstanding),
        ('spendable', 'P3', s.cash + s.advances - s.overdrawn, s.unspent + s.obligated + s.accrued - s.shortfall),
        ('spendable', 'P4', s.net_assets, s.unspent + s.obligated + s.receivables - s.shortfall),
        ('fiduciary', 'custody', s.custody, s.owner_claim + s.payables)
) p (kind, proof, left_side, right_side)
WHERE p.kind = f.kind;

CREATE TRIGGER keep_balances AFTER INSERT ON postings
REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION keep_balances();

-- Signed checkpoints, and the complete tiles of 256 hashes that proofs are made of. Only appended to.
CREATE TABLE checkpoints (
    size      bigint PRIMARY KEY,
    note      text NOT NULL,
    signed_at timestamptz NOT NULL DEFAULT now()
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
CREATE TABLE disbursements (
    disbursement text PRIMARY KEY,
    agency       text NOT NULL,
    agency_ref   text NOT NULL,
    fund         text NOT NULL,
    benefit      text NOT NULL,
    stage        text NOT NULL,
    currency     text NOT NULL,
    amount       numeric NOT NULL,
    expires      bigint NOT NULL,
    can_lapse    boolean NOT NULL,
    -- What the rules read of it, as packed JSON.
    state        bytea NOT NULL
);
CREATE INDEX disbursements_agency ON disbursements (agency, agency_ref);
CREATE INDEX disbursements_stage ON disbursements (stage, disbursement);
CREATE INDEX disbursements_lapse ON disbursements (expires, disbursement) WHERE can_lapse;
CREATE TABLE statement_lines (
    agency       text NOT NULL,
    agency_ref   text NOT NULL,
    position     bigint NOT NULL,
    disbursement text NOT NULL,
    at           bigint NOT NULL,
    event        text NOT NULL,
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
CREATE POLICY service_cases ON cases TO safeconduct_service, safeconduct_read USING (true) WITH CHECK (true);
CREATE POLICY service_disbursements ON disbursements TO safeconduct_service, safeconduct_read
    USING (true) WITH CHECK (true);
CREATE POLICY service_lines ON statement_lines TO safeconduct_service, safeconduct_read
    USING (true) WITH CHECK (true);

-- Who may do what. The owner cannot log in; nothing that can log in may change or remove what was appended.
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO safeconduct_owner, safeconduct_service, safeconduct_agency, safeconduct_read;
REVOKE ALL ON FUNCTION keep_balances(), follow_head(bigint, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION follow_head(bigint, bytea) TO safeconduct_service;
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['records', 'head', 'entities', 'instructions', 'funds', 'postings', 'balances',
        'fund_totals', 'checkpoints', 'tiles', 'cases', 'disbursements', 'statement_lines', 'reports', 'reads']
    LOOP
        EXECUTE format('ALTER TABLE %I OWNER TO safeconduct_owner', name);
        EXECUTE format('GRANT SELECT ON %I TO safeconduct_service, safeconduct_read', name);
    END LOOP;
END
$$;
ALTER VIEW fund_proofs OWNER TO safeconduct_owner;
ALTER FUNCTION keep_balances() OWNER TO safeconduct_owner;
ALTER FUNCTION follow_head(bigint, bytea) OWNER TO safeconduct_owner;
GRANT SELECT ON fund_proofs TO safeconduct_service, safeconduct_read;
GRANT INSERT ON records, postings, checkpoints, tiles, funds, statement_lines, reads TO safeconduct_service;
GRANT UPDATE (size, root, frontier, recorded_at, forked) ON head TO safeconduct_service;
GRANT INSERT, UPDATE, DELETE ON entities, instructions, cases, disbursements, reports TO safeconduct_service;
GRANT SELECT (agency, agency_ref, entered, screening) ON cases TO safeconduct_agency;
GRANT SELECT (disbursement, agency, agency_ref, benefit, stage, currency, amount) ON disbursements TO safeconduct_agency;
GRANT SELECT (agency, agency_ref, position, disbursement, at, event, benefit, currency, amount) ON statement_lines
    TO safeconduct_agency;
GRANT SELECT (size, recorded_at) ON head TO safeconduct_agency;
