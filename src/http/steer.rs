//! Steering the migration: what stands, plans and their applying, holding and going back.
//!
//! Each call is passed on to the driver, which decides and keeps the journal; the name in it is the one that a token proves.

use std::sync::Arc;

use axum::extract::{Json, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::access::Caller;
use super::input::{Named, Sent, one_line};
use super::problem::Problem;
use crate::flags::FlagsReader;
use crate::migration::driver::Handle;
use crate::migration::phase::Step;
use crate::migration::step::{Answer, Ask, Plan, Refusal, Verb, Who};
use crate::migration::view::{Shown, time};

/// What the migration's calls need.
#[derive(Clone)]
pub struct Migration {
    pub driver: Handle,
    pub flags: FlagsReader,
}

impl Migration {
    #[must_use]
    pub fn new(driver: Handle, flags: FlagsReader) -> Arc<Self> {
        Arc::new(Self { driver, flags })
    }
}

/// What is to be planned.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanBody {
    /// `promote`, `complete` or `rollback`.
    #[schema(value_type = String, example = "promote")]
    verb: Verb,
    /// The step that is expected: `shadow`, `consumers:5`, `ingress:10`, `cleanup`, `done`.
    #[serde(default)]
    #[schema(value_type = Option<String>, pattern = "^(shadow|cleanup|done|(consumers|ingress):([1-9][0-9]?|100))$")]
    to: Option<Step>,
}

/// Why it is done.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReasonBody {
    /// Ten characters or more; it goes into the journal.
    #[schema(pattern = "\\S[\\s\\S]{8,}\\S")]
    #[serde(deserialize_with = "one_line")]
    reason: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CompleteBody {
    /// Ten characters or more; it goes into the journal.
    #[schema(pattern = "\\S[\\s\\S]{8,}\\S")]
    #[serde(deserialize_with = "one_line")]
    pub(super) reason: String,
    /// The migration's name, typed.
    name: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackBody {
    /// The step to go back to; without it the one before.
    #[serde(default)]
    #[schema(value_type = Option<String>, pattern = "^(shadow|cleanup|done|(consumers|ingress):([1-9][0-9]?|100))$")]
    to: Option<Step>,
    /// Ten characters or more; it goes into the journal.
    #[schema(pattern = "\\S[\\s\\S]{8,}\\S")]
    #[serde(deserialize_with = "one_line")]
    reason: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RehearseBody {
    /// The step whose way back is tried.
    #[schema(value_type = String, example = "consumers:5", pattern = "^(shadow|cleanup|done|(consumers|ingress):([1-9][0-9]?|100))$")]
    step: Step,
}

/// What would be done. Good for one use, until it expires or the epoch moves.
#[derive(Serialize, ToSchema)]
pub struct ShownPlan {
    id: String,
    #[schema(value_type = String)]
    verb: Verb,
    #[schema(value_type = String)]
    from: Step,
    #[schema(value_type = String)]
    to: Step,
    epoch: u64,
    expires_at: String,
    steps: Vec<&'static str>,
    estimate_seconds: Option<f64>,
    #[schema(value_type = Option<String>)]
    way_back: Option<Step>,
    /// Of a rollback: what readers who go back do not get.
    leaves: Option<String>,
    blocked_by: Vec<String>,
    /// What does not stand in the way of this step, and will in that of a later one.
    warning: Option<String>,
}

impl From<Plan> for ShownPlan {
    fn from(plan: Plan) -> Self {
        let blocked = plan.gates.iter().filter(|verdict| !verdict.opens());
        let gates = blocked.map(|verdict| format!("{}: {}", verdict.name, verdict.reason));
        let unfit = plan.unfit.map(|why| format!("attempt-budget: {why}"));
        Self {
            blocked_by: gates.chain(unfit).collect(),
            id: plan.id,
            warning: plan.warning,
            verb: plan.verb,
            from: plan.from,
            to: plan.to,
            epoch: plan.epoch,
            expires_at: time(plan.expires_ms),
            steps: plan.steps.iter().map(|step| step.as_str()).collect(),
            #[expect(clippy::cast_precision_loss, reason = "seconds for people")]
            estimate_seconds: plan.estimate_ms.map(|ms| ms as f64 / 1_000.0),
            way_back: plan.way_back,
            leaves: plan.leaves,
        }
    }
}

/// It is done, or stored and on its way.
#[derive(Serialize, ToSchema)]
pub struct Accepted {
    epoch: u64,
    #[schema(value_type = String)]
    step: Step,
    /// Of a rollback: what readers who go back do not get.
    leaves: Option<&'static str>,
}

/// A measure that the baseline lacks.
#[derive(Serialize, ToSchema)]
pub struct Lacking {
    measure: &'static str,
    /// What it is for.
    what_for: &'static str,
}

/// The baseline is recorded.
#[derive(Serialize, ToSchema)]
pub struct Recorded {
    epoch: u64,
    #[schema(value_type = String)]
    step: Step,
    /// What was not known when it was recorded.
    lacks: Vec<Lacking>,
}

/// What came of trying a way back.
#[derive(Serialize, ToSchema)]
pub struct Rehearsed {
    /// The step that it leads back from.
    #[schema(value_type = String)]
    step: Step,
    passed: bool,
    /// Why it is not open; empty where it is.
    note: String,
    /// How long trying it took.
    took_seconds: f64,
}

/// The migration as it stands: step, state, gates, what blocks, the way back.
#[utoipa::path(get, path = "/v1/migration", responses((status = 200, description = "As it stands", body = Object)))]
pub async fn shown(State(api): State<Api>) -> Json<Shown> {
    Json(Shown::of(&api.migration.driver.view()))
}

pub(super) async fn ask(api: &Api, who: Who, ask: Ask) -> Result<Response, Problem> {
    answered(api.migration.driver.ask(who, ask).await)
}

fn answered(answer: Result<Box<Answer>, Box<Refusal>>) -> Result<Response, Problem> {
    match answer.map(|answer| *answer) {
        Ok(Answer::Plan(plan)) => Ok(Json(ShownPlan::from(plan)).into_response()),
        Ok(Answer::Accepted {
            epoch,
            step,
            leaves,
        }) => {
            let accepted = Accepted {
                epoch,
                step,
                leaves,
            };
            Ok((StatusCode::ACCEPTED, Json(accepted)).into_response())
        }
        Ok(Answer::Recorded { epoch, step, lacks }) => {
            let lacks = lacks.iter().map(|lack| Lacking {
                measure: lack.measure.as_str(),
                what_for: lack.what_for,
            });
            let recorded = Recorded {
                epoch,
                step,
                lacks: lacks.collect(),
            };
            Ok((StatusCode::ACCEPTED, Json(recorded)).into_response())
        }
        Ok(Answer::Rehearsed {
            step,
            passed,
            note,
            took_ms,
        }) => Ok(Json(Rehearsed {
            step,
            passed,
            note,
            #[expect(clippy::cast_precision_loss, reason = "seconds for people")]
            took_seconds: took_ms as f64 / 1_000.0,
        })
        .into_response()),
        Err(refusal) => Err(Problem::refused(&refusal)),
    }
}

/// Plans a promotion, the completion or a rollback: runs its steps without doing them.
#[utoipa::path(post, path = "/v1/plans", request_body = PlanBody, responses(
    (status = 200, description = "The plan", body = ShownPlan),
    (status = 409, description = "It does not lead there from here"),
    (status = 503, description = "The driver cannot say now")
))]
pub async fn plan(
    State(api): State<Api>,
    Caller(who): Caller,
    Sent(PlanBody { verb, to }): Sent<PlanBody>,
) -> Result<Response, Problem> {
    ask(&api, who, Ask::Plan { verb, to }).await
}

/// Applies a plan of a promotion or a rollback.
#[utoipa::path(post, path = "/v1/plans/{id}/apply", params(("id" = String, Path, description = "The plan's")),
    request_body = ReasonBody, responses(
        (status = 202, description = "It is on its way", body = Accepted),
        (status = 409, description = "Gates block it, the plan is used up, or the state moved since"),
        (status = 503, description = "The driver cannot do it now")
))]
pub async fn apply(
    State(api): State<Api>,
    Caller(who): Caller,
    Named(plan): Named,
    Sent(ReasonBody { reason }): Sent<ReasonBody>,
) -> Result<Response, Problem> {
    let typed = None;
    ask(
        &api,
        who,
        Ask::Apply {
            plan,
            reason,
            typed,
        },
    )
    .await
}

/// Applies the plan that completes the migration. It cannot be taken back.
#[utoipa::path(post, path = "/v1/plans/{id}/complete", params(("id" = String, Path, description = "The plan's")),
    request_body = CompleteBody, responses(
        (status = 202, description = "It is on its way", body = Accepted),
        (status = 409, description = "Gates block it, the plan is used up, or the state moved since"),
        (status = 503, description = "The driver cannot do it now")
))]
pub async fn complete(
    State(api): State<Api>,
    Caller(who): Caller,
    Named(plan): Named,
    Sent(CompleteBody { reason, name }): Sent<CompleteBody>,
) -> Result<Response, Problem> {
    let typed = Some(name);
    ask(
        &api,
        who,
        Ask::Apply {
            plan,
            reason,
            typed,
        },
    )
    .await
}

/// Promotes nothing until resumed; what is on its way goes on to its end.
#[utoipa::path(post, path = "/v1/hold", request_body = ReasonBody, responses(
    (status = 202, description = "It is held", body = Accepted),
    (status = 409, description = "Not from here"),
    (status = 503, description = "The driver cannot do it now")
))]
pub async fn hold(
    State(api): State<Api>,
    Caller(who): Caller,
    Sent(ReasonBody { reason }): Sent<ReasonBody>,
) -> Result<Response, Problem> {
    ask(&api, who, Ask::Hold { reason }).await
}

/// Lets a migration go on that is held or frozen.
#[utoipa::path(post, path = "/v1/resume", request_body = ReasonBody, responses(
    (status = 202, description = "It goes on", body = Accepted),
    (status = 409, description = "Not from here"),
    (status = 503, description = "The driver cannot do it now")
))]
pub async fn resume(
    State(api): State<Api>,
    Caller(who): Caller,
    Sent(ReasonBody { reason }): Sent<ReasonBody>,
) -> Result<Response, Problem> {
    ask(&api, who, Ask::Resume { reason }).await
}

/// Goes back a step, or to an earlier one, without a preview.
#[utoipa::path(post, path = "/v1/rollback", request_body = RollbackBody, responses(
    (status = 202, description = "It is on its way", body = Accepted),
    (status = 409, description = "Not from here"),
    (status = 503, description = "The driver cannot do it now")
))]
pub async fn rollback(
    State(api): State<Api>,
    Caller(who): Caller,
    Sent(RollbackBody { to, reason }): Sent<RollbackBody>,
) -> Result<Response, Problem> {
    ask(&api, who, Ask::Rollback { to, reason }).await
}

/// Tries the way back from a step against the live stores, and moves nothing.
#[utoipa::path(post, path = "/v1/rehearsals", request_body = RehearseBody, responses(
    (status = 200, description = "It was tried; whether it is open is in passed", body = Rehearsed),
    (status = 409, description = "There is no such way"),
    (status = 503, description = "The driver cannot do it now")
))]
pub async fn rehearse(
    State(api): State<Api>,
    Caller(who): Caller,
    Sent(RehearseBody { step }): Sent<RehearseBody>,
) -> Result<Response, Problem> {
    answered(api.migration.driver.rehearse(who, step).await)
}

/// Records how Redis alone does.
#[utoipa::path(post, path = "/v1/baseline", responses(
    (status = 202, description = "It is recorded", body = Recorded),
    (status = 409, description = "Not from here, or the throughput is not known"),
    (status = 503, description = "The driver cannot do it now")
))]
pub async fn baseline(State(api): State<Api>, Caller(who): Caller) -> Result<Response, Problem> {
    ask(&api, who, Ask::Baseline).await
}
