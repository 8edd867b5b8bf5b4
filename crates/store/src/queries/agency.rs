//! What agencies read, on the pool whose role sees the rows of one agency only.
//!
//! Reads that wait are taken together. They are written down on the primary ([`record`]), all of them by one statement,
//! without which none is answered, and read ([`read`]), those of one agency in one transaction that names it and no other, on a standby where there
//! is one; either is one round trip, and one more for a case with more disbursements than are listed. A case of another agency and a case that does not exist go through the same
//! statements and come out of the same branch: row-level security and the statement's own condition make both an empty answer.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use deadpool_postgres::Client;
use ledger::currency::Currency;
use ledger::id::{AgencyRef, PrincipalId};
use ledger::money::Money;
use ledger::time::Timestamp;
use programme::Key;
use programme::entity::Entity;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};

use super::{Page, Slice, corrupt, money, parsed};
use crate::error::StoreError;
use crate::load::{Loader, time, unsigned};

/// The most disbursements that one answer about a case lists.
pub const CASE_DISBURSEMENTS_MAX: u32 = 500;

const RECORD: &str = "WITH written AS ( \
        INSERT INTO reads (agency, resource, agency_ref) SELECT * FROM unnest($1::text[], $2::text[], $3::text[])) \
    SELECT recorded_at FROM head";

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
const AGENCY: &str = "SELECT recorded_at, set_config('safeconduct.agency', $1, true) FROM head";
// A subquery with a limit or an aggregate is run once for each thing that is asked for, by the index: a join would be planned
// for a table of another size.
const CASES: &str = "SELECT w.number, c.agency_ref, c.entered, c.screening \
    FROM unnest($2::text[], $3::bigint[]) WITH ORDINALITY AS w (after, many, number) \
    CROSS JOIN LATERAL ( \
        SELECT agency_ref, entered, screening FROM cases \
        WHERE agency = $1 AND agency_ref > w.after ORDER BY agency_ref LIMIT w.many) c \
    ORDER BY w.number, c.agency_ref";
const CASE: &str = "SELECT c.agency_ref AS name, c.agency_ref, c.entered, c.screening \
    FROM unnest($2::text[]) AS w (agency_ref) \
    CROSS JOIN LATERAL ( \
        SELECT agency_ref, entered, screening FROM cases \
        WHERE agency = $1 AND agency_ref = w.agency_ref LIMIT 1) c";
const SUMS: &str = "SELECT w.agency_ref, d.currency, d.stage, d.amount \
    FROM unnest($2::text[]) AS w (agency_ref) \
    CROSS JOIN LATERAL ( \
        SELECT currency, stage::text AS stage, sum(amount)::text AS amount FROM disbursements \
        WHERE agency = $1 AND agency_ref = w.agency_ref GROUP BY currency, disbursements.stage) d";
const REPORT: &str = "SELECT c.agency_ref, c.agency_ref, c.entered, c.screening, d.* \
    FROM unnest($2::text[]) AS w (agency_ref) \
    CROSS JOIN LATERAL ( \
        SELECT agency_ref, entered, screening FROM cases \
        WHERE agency = $1 AND agency_ref = w.agency_ref LIMIT 1) c \
    CROSS JOIN LATERAL ( \
        SELECT array_agg(disbursement), array_agg(benefit), array_agg(stage), array_agg(currency), array_agg(amount) \
        FROM ( \
            SELECT disbursement, benefit, stage::text AS stage, currency, amount::text AS amount FROM disbursements \
            WHERE agency = $1 AND agency_ref = w.agency_ref ORDER BY disbursement LIMIT $3) r) d";
const LINES: &str = "SELECT w.number, l.position, l.at, l.event, l.disbursement, l.benefit, l.currency, l.amount \
    FROM unnest($2::text[], $3::bigint[], $4::bigint[]) WITH ORDINALITY AS w (agency_ref, after, many, number) \
    CROSS JOIN LATERAL ( \
        SELECT position, at, event::text AS event, disbursement, benefit, currency, amount::text AS amount FROM statement_lines \
        WHERE agency = $1 AND agency_ref = w.agency_ref AND position > w.after ORDER BY position LIMIT w.many) l \
    ORDER BY w.number, l.position";

/// A part of a list that an agency asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The cursor of the last item that was seen; none for the first page.
    pub after: Option<String>,
    /// The most items of the page.
    pub limit: u32,
}

impl Part {
    fn slice(&self) -> Slice<'_> {
        Slice { after: self.after.as_deref(), limit: self.limit }
    }
}

/// What an agency asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A page of its cases.
    Cases(Part),
    /// What there is about a case.
    Case(AgencyRef),
    /// A page of a case's statement.
    Statement(AgencyRef, Part),
}

impl Asked {
    /// The case, where it is about one.
    fn agency_ref(&self) -> Option<&str> {
        match self {
            Asked::Cases(_) => None,
            Asked::Case(agency_ref) | Asked::Statement(agency_ref, _) => Some(agency_ref.as_str()),
        }
    }

    /// What it is called where it is written down.
    fn resource(&self) -> &'static str {
        match self {
            Asked::Cases(_) => "cases",
            Asked::Case(_) => "case",
            Asked::Statement(..) => "statement",
        }
    }
}

/// What it is told, in the same order of variants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// A page of its cases.
    Cases(Page<AgencyCase>),
    /// What there is about a case; `None` where it does not exist or is another agency's.
    Case(Option<CaseReport>),
    /// A page of a case's statement; `None` likewise.
    Statement(Option<Page<StatementLine>>),
}

/// A case, as its agency sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgencyCase {
    /// The agency's reference.
    pub agency_ref: String,
    /// The day on which the person entered.
    pub entered: String,
    /// `open`, `cleared` or `refused`.
    pub screening: String,
}

/// A disbursement, as its case's agency sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgencyDisbursement {
    /// The disbursement.
    pub disbursement: String,
    /// Its benefit.
    pub benefit: String,
    /// Its stage.
    pub stage: String,
    /// Its amount.
    pub amount: Money,
}

/// A case's balances and disbursements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseReport {
    /// The case.
    pub case: AgencyCase,
    /// Per currency and stage, what its disbursements come to.
    pub sums: BTreeMap<(Currency, String), Money>,
    /// The first [`CASE_DISBURSEMENTS_MAX`] of them.
    pub disbursements: Vec<AgencyDisbursement>,
}

/// A line of a case's statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatementLine {
    /// When.
    pub at: Timestamp,
    /// Which stage was entered.
    pub event: String,
    /// Of which disbursement.
    pub disbursement: String,
    /// Under which benefit.
    pub benefit: String,
    /// Of what amount.
    pub amount: Money,
}

/// Writes down what agencies read, each with what it asks for, for good when this returns. Answers the time of the ledger's last
/// group, and the entities of `keys` as they are after that; a key without one is left out. `client` is the service's: a standby
/// takes no writes, and an agency's own role writes nothing.
pub async fn record(
    client: &Client,
    reads: impl Iterator<Item = (&PrincipalId, &Asked)>,
    keys: Vec<Key>,
) -> Result<(Timestamp, HashMap<Key, Entity>), StoreError> {
    let (mut agencies, mut resources, mut agency_refs) = (vec![], vec![], vec![]);
    for (agency, asked) in reads {
        agencies.push(agency.as_str());
        resources.push(asked.resource());
        agency_refs.push(asked.agency_ref());
    }
    let (statement, loader) =
        tokio::try_join!(async { Ok(client.prepare_cached(RECORD).await?) }, Loader::cached(client))?;
    let written: Params<3> = [&agencies, &resources, &agency_refs];
    // They are sent in this order, before the first is answered.
    let (head, loaded) =
        tokio::join!(biased; client.query_opt(&statement, &written), loader.load(client, keys));
    let latest = time("head", head?.ok_or(corrupt("no head"))?.get(0))?;
    Ok((latest, loaded?.into_iter().filter_map(|(key, entity)| Some((key, entity?))).collect()))
}

/// Answers what one agency asks for, in order, of one state of the database, and the time of the last group that this takes
/// in. An answer that cannot be made of what the database holds fails alone.
pub async fn read(
    client: &Client,
    agency: &PrincipalId,
    asked: &[&Asked],
) -> Result<(Timestamp, Vec<Result<Told, StoreError>>), StoreError> {
    let sql = Statements::cached(client).await?;
    let wanted = Wanted::of(asked);
    let (as_of, found) = find(client, &sql, agency, &wanted, false).await?;
    if !found.is_cut() {
        return Ok((as_of, found.told(asked)));
    }
    let (as_of, found) = find(client, &sql, agency, &wanted, true).await?;
    Ok((as_of, found.told(asked)))
}

/// Reads in one transaction. The sums over a case's disbursements are asked for only where not all of these are listed:
/// else they are in what is listed.
async fn find(
    client: &Client,
    sql: &Statements,
    agency: &PrincipalId,
    wanted: &Wanted<'_>,
    with_sums: bool,
) -> Result<(Timestamp, Found), StoreError> {
    // One more than are answered, to see whether there are more.
    let (name, most) = (agency.as_str(), i64::from(CASE_DISBURSEMENTS_MAX) + 1);
    let of_agency: Params<1> = [&name];
    let of_pages: Params<3> = [&name, &wanted.pages.0, &wanted.pages.1];
    let of_cases: Params<2> = [&name, &wanted.cases];
    let of_reports: Params<3> = [&name, &wanted.reports, &most];
    let of_sums: Params<2> = [&name, &wanted.reports];
    let of_lines: Params<4> = [&name, &wanted.lines.0, &wanted.lines.1, &wanted.lines.2];
    let (no_pages, no_cases) = (wanted.pages.0.is_empty(), wanted.cases.is_empty());
    let (no_reports, no_lines) = (wanted.reports.is_empty(), wanted.lines.0.is_empty());
    // They are sent in this order, before the first is answered; where one fails, those after it fail too, and COMMIT ends
    // the transaction all the same.
    let (begun, head, pages, cases, sums, reports, lines, ended) = tokio::join!(
        biased;
        client.batch_execute(BEGIN),
        client.query_opt(&sql.agency, &of_agency),
        unless(no_pages, client.query(&sql.cases, &of_pages)),
        unless(no_cases, client.query(&sql.case, &of_cases)),
        unless(no_reports || !with_sums, client.query(&sql.sums, &of_sums)),
        unless(no_reports, client.query(&sql.reports, &of_reports)),
        unless(no_lines, client.query(&sql.lines, &of_lines)),
        client.batch_execute("COMMIT"),
    );
    begun?;
    let as_of = time("head", head?.ok_or(corrupt("no head"))?.get(0))?;
    let found = Found {
        pages: by_number(pages?),
        cases: by_case(cases?),
        sums: with_sums.then_some(by_case(sums?)),
        reports: by_case(reports?),
        lines: by_number(lines?),
    };
    ended?;
    Ok((as_of, found))
}

type Params<'a, const N: usize> = [&'a (dyn ToSql + Sync); N];

/// A statement is not run where nothing asks for it.
async fn unless<E>(nothing: bool, rows: impl Future<Output = Result<Vec<Row>, E>>) -> Result<Vec<Row>, E> {
    if nothing { Ok(vec![]) } else { rows.await }
}

struct Statements {
    agency: Statement,
    cases: Statement,
    case: Statement,
    sums: Statement,
    reports: Statement,
    lines: Statement,
}

impl Statements {
    /// Prepared once a connection.
    async fn cached(client: &Client) -> Result<Statements, StoreError> {
        let (agency, cases, case, sums, reports, lines) = tokio::try_join!(
            client.prepare_cached(AGENCY),
            client.prepare_cached(CASES),
            client.prepare_cached(CASE),
            client.prepare_cached(SUMS),
            client.prepare_cached(REPORT),
            client.prepare_cached(LINES),
        )?;
        Ok(Statements { agency, cases, case, sums, reports, lines })
    }
}

/// What is asked for, as the statements take it.
#[derive(Default)]
struct Wanted<'a> {
    /// Of lists of cases: after which reference, and how many.
    pages: (Vec<&'a str>, Vec<i64>),
    /// The cases whose statements are asked for, and those whose balances are, none twice.
    cases: Vec<&'a str>,
    reports: Vec<&'a str>,
    /// Of statements: of which case, after which position, and how many.
    lines: (Vec<&'a str>, Vec<i64>, Vec<i64>),
}

impl<'a> Wanted<'a> {
    fn of(asked: &[&'a Asked]) -> Wanted<'a> {
        let mut wanted = Wanted::default();
        for asked in asked {
            match asked {
                Asked::Cases(part) => {
                    wanted.pages.0.push(part.slice().after.unwrap_or_default());
                    wanted.pages.1.push(part.slice().fetch());
                }
                Asked::Case(agency_ref) => wanted.reports.push(agency_ref.as_str()),
                Asked::Statement(agency_ref, part) => {
                    wanted.cases.push(agency_ref.as_str());
                    wanted.lines.0.push(agency_ref.as_str());
                    wanted.lines.1.push(part.slice().after_position());
                    wanted.lines.2.push(part.slice().fetch());
                }
            }
        }
        for cases in [&mut wanted.cases, &mut wanted.reports] {
            cases.sort_unstable();
            cases.dedup();
        }
        wanted
    }
}

/// What was found, by the case or by the number of the list that it is of; the rows of each in their order.
struct Found {
    pages: HashMap<i64, Vec<Row>>,
    cases: HashMap<String, Vec<Row>>,
    /// Where they were asked for.
    sums: Option<HashMap<String, Vec<Row>>>,
    /// A case, and its disbursements in columns of arrays.
    reports: HashMap<String, Vec<Row>>,
    lines: HashMap<i64, Vec<Row>>,
}

fn by_number(rows: Vec<Row>) -> HashMap<i64, Vec<Row>> {
    let mut found: HashMap<i64, Vec<Row>> = HashMap::new();
    for row in rows {
        found.entry(row.get(0)).or_default().push(row);
    }
    found
}

fn by_case(rows: Vec<Row>) -> HashMap<String, Vec<Row>> {
    let mut found: HashMap<String, Vec<Row>> = HashMap::new();
    for row in rows {
        found.entry(row.get(0)).or_default().push(row);
    }
    found
}

impl Found {
    fn told(&self, asked: &[&Asked]) -> Vec<Result<Told, StoreError>> {
        let (mut pages, mut lines) = (0, 0);
        let of_one = |asked: &&Asked| match asked {
            Asked::Cases(part) => {
                pages += 1;
                let cases = some(&self.pages, &pages).iter().map(|row| (row.get(1), agency_case(row)));
                Ok(Told::Cases(Page::of(cases.collect(), part.slice())))
            }
            Asked::Case(agency_ref) => Ok(Told::Case(self.report(agency_ref.as_str())?)),
            Asked::Statement(agency_ref, part) => {
                lines += 1;
                let page = some(&self.lines, &lines).iter().map(line).collect::<Result<_, StoreError>>()?;
                let page = Page::of(page, part.slice());
                let is_known = self.cases.contains_key(agency_ref.as_str());
                Ok(Told::Statement(is_known.then_some(page)))
            }
        };
        asked.iter().map(of_one).collect()
    }

    /// Whether a case has more disbursements than are listed, and no sums.
    fn is_cut(&self) -> bool {
        let is_long = |row: &Row| {
            listed(row, DISBURSEMENTS).is_ok_and(|ids| ids.len() > CASE_DISBURSEMENTS_MAX as usize)
        };
        self.sums.is_none() && self.reports.values().flatten().any(is_long)
    }

    fn report(&self, agency_ref: &str) -> Result<Option<CaseReport>, StoreError> {
        let Some(row) = some(&self.reports, agency_ref).first() else { return Ok(None) };
        let disbursements = disbursements(row)?;
        let sums = match &self.sums {
            Some(sums) => some(sums, agency_ref).iter().map(sum).collect::<Result<_, StoreError>>()?,
            None => summed(&disbursements)?,
        };
        Ok(Some(CaseReport { case: agency_case(row), sums, disbursements }))
    }
}

/// The rows of one thing that was asked for, if there are any.
fn some<'a, K: Hash + Eq + Borrow<Q>, Q: Hash + Eq + ?Sized>(
    found: &'a HashMap<K, Vec<Row>>,
    key: &Q,
) -> &'a [Row] {
    found.get(key).map(Vec::as_slice).unwrap_or_default()
}

fn agency_case(row: &Row) -> AgencyCase {
    AgencyCase { agency_ref: row.get(1), entered: row.get(2), screening: row.get(3) }
}

/// What disbursements come to, per currency and stage.
fn summed(disbursements: &[AgencyDisbursement]) -> Result<BTreeMap<(Currency, String), Money>, StoreError> {
    let mut sums: BTreeMap<(Currency, String), Money> = BTreeMap::new();
    for AgencyDisbursement { stage, amount, .. } in disbursements {
        let sum = sums.entry((amount.currency(), stage.clone())).or_insert(Money::zero(amount.currency()));
        *sum = sum.checked_add(*amount).map_err(|_| corrupt("disbursements beyond all limits"))?;
    }
    Ok(sums)
}

fn sum(row: &Row) -> Result<((Currency, String), Money), StoreError> {
    let currency = parsed(row.get(1), "a currency")?;
    Ok(((currency, row.get(2)), money(row.get(3), currency)?))
}

/// The columns of a report's disbursements, in order from here.
const DISBURSEMENTS: usize = 4;

/// A column of a report's disbursements.
fn listed(row: &Row, column: usize) -> Result<Vec<&str>, StoreError> {
    Ok(row.try_get::<_, Option<Vec<&str>>>(column)?.unwrap_or_default())
}

/// A report's disbursements, as many as are answered.
fn disbursements(row: &Row) -> Result<Vec<AgencyDisbursement>, StoreError> {
    let column = |number| listed(row, DISBURSEMENTS + number);
    let (ids, benefits, stages) = (column(0)?, column(1)?, column(2)?);
    let (currencies, amounts) = (column(3)?, column(4)?);
    let rows = ids.into_iter().zip(benefits).zip(stages).zip(currencies.into_iter().zip(amounts));
    rows.take(CASE_DISBURSEMENTS_MAX as usize)
        .map(|(((disbursement, benefit), stage), (currency, amount))| {
            let amount = money(amount, parsed(currency, "a currency")?)?;
            let [disbursement, benefit, stage] = [disbursement, benefit, stage].map(str::to_owned);
            Ok(AgencyDisbursement { disbursement, benefit, stage, amount })
        })
        .collect()
}

/// A line with its cursor.
fn line(row: &Row) -> Result<(String, StatementLine), StoreError> {
    let line = StatementLine {
        at: time("statement_lines", row.get(2))?,
        event: row.get(3),
        disbursement: row.get(4),
        benefit: row.get(5),
        amount: money(row.get(7), parsed(row.get(6), "a currency")?)?,
    };
    Ok((unsigned("statement_lines", row.get(1))?.to_string(), line))
}
