//! What custodians do in quorum.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use client::Client;
use client::describe::act as act_words;
use client::membership::read_possession;
use client::reads::Proposal as Listed;
use ledger::id::PrincipalId;
use ledger::time::Timestamp;
use records::Body;
use records::governance::{Act, Concurrence, Policy, Proposal, Role, Veto};
use records::scalar::{Integer, Text};
use serde::Deserialize;
use signing::digest::Digest;
use signing::dsse::Envelope;
use signing::keys::KeyId;

use crate::context::Global;
use crate::error::{Error, Result};
use crate::send::{Manner, Planned, send};
use crate::{input, shown};

/// `safeconduct propose ...`
#[derive(Debug, Subcommand)]
pub enum ProposeCommand {
    /// A new principal, or further keys for one that exists
    Enrol {
        /// A key-possession file; once for each key of the one principal
        #[arg(
            long = "possession",
            value_name = "FILE",
            required_unless_present_any = ["file", "spares"],
            requires = "roles"
        )]
        possessions: Vec<PathBuf>,
        /// The key-possession file of a spare, which signs nothing before it activates itself; once for each
        #[arg(long = "spare", value_name = "FILE", requires = "roles")]
        spares: Vec<PathBuf>,
        /// All roles of the principal from then on
        #[arg(long, value_name = "ROLE,...", value_delimiter = ',')]
        roles: Vec<Role>,
        /// From when on the keys, the spares too, are no longer valid, as 2027-06-30T00:00:00Z; else never
        #[arg(long, value_name = "TIME")]
        expires: Option<Timestamp>,
        /// Several principals at once: JSON, [{"possessions": ["FILE"], "roles": ["ROLE"], "spares"?, "expires"?}]
        #[arg(long, value_name = "FILE", conflicts_with_all = ["possessions", "spares", "roles", "expires"])]
        file: Option<PathBuf>,
    },
    /// A new policy
    Policy {
        /// The whole policy, as JSON
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
    },
    /// The end of a key
    Revoke {
        /// The key's id
        #[arg(long, value_name = "ID")]
        key: KeyId,
        /// Why
        #[arg(long)]
        reason: Text,
        /// Where somebody else may have had the key: auditors review what it signed from this position of the log on
        #[arg(long, value_name = "POSITION")]
        since: Option<Integer>,
    },
    /// Other roles for a principal
    Roles {
        /// Whose
        #[arg(long)]
        principal: PrincipalId,
        /// All of them from then on; an empty list ends what he may do
        #[arg(long, value_name = "ROLE,...", value_delimiter = ',', num_args = 0.., required = true)]
        roles: Vec<Role>,
    },
}

/// `safeconduct concur`
#[derive(Debug, Args)]
pub struct ConcurArgs {
    /// The proposals' digests
    #[arg(value_name = "DIGEST", required_unless_present = "all_listed", conflicts_with = "all_listed")]
    proposals: Vec<Digest>,
    /// Every open proposal that you do not stand behind yet
    #[arg(long)]
    all_listed: bool,
}

/// `safeconduct veto`
#[derive(Debug, Args)]
pub struct VetoArgs {
    /// The proposal's digest
    #[arg(value_name = "DIGEST")]
    proposal: Digest,
    /// Why
    #[arg(long)]
    reason: Text,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Enrolment {
    expires: Option<Timestamp>,
    possessions: Vec<PathBuf>,
    roles: Vec<Role>,
    #[serde(default)]
    spares: Vec<PathBuf>,
}

impl ProposeCommand {
    /// Runs it.
    pub fn run(self, global: &Global) -> Result<ExitCode> {
        let client = global.client()?;
        let acts = match self {
            ProposeCommand::Enrol { possessions, spares, roles, expires, file: None } => {
                let enrolment = Enrolment { expires, possessions, roles, spares };
                vec![enrol(&client, Path::new(""), enrolment)?]
            }
            ProposeCommand::Enrol { file: Some(file), .. } => {
                let folder = file.parent().unwrap_or(Path::new("")).to_owned();
                let enrolments: Vec<Enrolment> = input::json_file(&file)?;
                enrolments.into_iter().map(|one| enrol(&client, &folder, one)).collect::<Result<_>>()?
            }
            ProposeCommand::Policy { file } => {
                vec![Act::Policy { policy: input::json_file::<Policy>(&file)? }]
            }
            ProposeCommand::Revoke { key, reason, since } => vec![Act::Revoke { key, reason, since }],
            ProposeCommand::Roles { principal, roles } => {
                vec![Act::Roles { principal, roles: sorted(roles) }]
            }
        };
        let planned = acts.into_iter().map(|act| Body::Proposal(Proposal { act }).into()).collect();
        let next = |digests: &[Digest]| {
            let which = match digests {
                [digest] => digest.to_string(),
                _ => "--all-listed".to_owned(),
            };
            format!("the other custodians run: safeconduct proposals, and then: safeconduct concur {}", which)
        };
        send(global, &client, planned, Manner::for_others(&next))
    }
}

fn sorted(mut roles: Vec<Role>) -> Vec<Role> {
    roles.sort();
    roles.dedup();
    roles
}

/// An enrolment from key-possession files, each checked before it is proposed.
fn enrol(client: &Client, folder: &Path, enrolment: Enrolment) -> Result<Act> {
    let Enrolment { expires, possessions, roles, spares } = enrolment;
    let mut principal: Option<PrincipalId> = None;
    let mut keys = Vec::new();
    for file in possessions.iter().chain(&spares) {
        let path = folder.join(file);
        let envelope: Envelope = input::json_file(&path)?;
        let possession =
            read_possession(&envelope).map_err(|e| Error::new(format!("{}: {e}", path.display())))?;
        if possession.ledger != client.ledger().ledger {
            let ours = client.ledger().ledger;
            return Err(Error::new(format!(
                "{} is for another ledger; have it written again with --ledger {ours}",
                path.display()
            )));
        }
        if principal.as_ref().is_some_and(|principal| *principal != possession.principal) {
            return Err(Error::new(format!(
                "{} is of another principal than the file before; propose each principal apart, or use --file",
                path.display()
            )));
        }
        principal = Some(possession.principal);
        keys.push(envelope);
    }
    let principal =
        principal.ok_or_else(|| Error::new("an enrolment needs at least one key-possession file"))?;
    let spares = keys.split_off(possessions.len());
    let spares = (!spares.is_empty()).then_some(spares);
    Ok(Act::Enrol { expires, possessions: keys, principal, roles: sorted(roles), spares })
}

/// Lists the custodians' proposals.
pub fn proposals(global: &Global) -> Result<ExitCode> {
    let items = global.client()?.list("/v1/proposals")?;
    let row = |item: &Listed| {
        let words = act_words(&item.act);
        let behind: Vec<&str> = item.custodians.iter().map(|custodian| custodian.as_str()).collect();
        let when = match item.effective_at {
            Some(at) => format!("takes effect {at}"),
            None => format!("may be concurred with until {}", item.not_after),
        };
        let mut text = words.headline;
        for (label, value) in words.details {
            text.push_str(&format!("\n{label}: {value}"));
        }
        vec![item.proposal.to_string(), item.status.clone(), text, behind.join(", "), when]
    };
    let header = ["proposal", "status", "what", "behind it", "when"];
    global.show_list(items, &header, row, "There are no proposals.")?;
    Ok(ExitCode::SUCCESS)
}

/// Concurs with proposals.
pub fn concur(global: &Global, args: ConcurArgs) -> Result<ExitCode> {
    let client = global.client()?;
    let listed: Vec<Listed> = client.list("/v1/proposals")?;
    let me = client.identity().principal.clone();
    let wanted: Vec<&Listed> = if args.all_listed {
        listed.iter().filter(|item| item.status == "open" && !item.custodians.contains(&me)).collect()
    } else {
        let find = |digest: &Digest| {
            listed.iter().find(|item| item.proposal == *digest).ok_or_else(|| {
                Error::new(format!("there is no proposal {digest}; see: safeconduct proposals"))
            })
        };
        args.proposals.iter().map(find).collect::<Result<_>>()?
    };
    let mut planned = Vec::new();
    for item in wanted {
        planned.push(concurrence(&client, item)?);
    }
    let next = |_: &[Digest]| {
        "with the quorum it takes effect after the policy's delay, in which custodians and auditors may run: \
         safeconduct veto DIGEST --reason WORDS"
            .to_owned()
    };
    send(global, &client, planned, Manner::then(&next))
}

fn concurrence(client: &Client, item: &Listed) -> Result<Planned> {
    let body = Body::Concurrence(Concurrence { proposal: item.proposal });
    if let Some(envelope) = &item.envelope {
        return shown::with_content(client, body, item.proposal, Some(envelope));
    }
    let words = act_words(&item.act);
    let planned = Planned::from(body).and("the service says that it is", words.headline);
    let planned =
        words.details.into_iter().fold(planned, |planned, (label, value)| planned.and(&label, value));
    Ok(planned.and("caution", "this is the service's word; compare the digest with the proposer"))
}

/// Vetoes a proposal.
pub fn veto(global: &Global, args: VetoArgs) -> Result<ExitCode> {
    let client = global.client()?;
    let body = Body::Veto(Veto { proposal: args.proposal, reason: args.reason });
    let next = |_: &[Digest]| "tell the custodians; the act is void, and may be proposed anew".to_owned();
    send(global, &client, vec![body.into()], Manner::then(&next))
}
