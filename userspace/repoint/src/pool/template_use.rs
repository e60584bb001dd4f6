//! Which containers may be made from a stored template.

use crate::{
    conf::User,
    model::TemplateName,
    node::{NodeError, StoredTemplateError, effective::EffectivePool},
    store::TemplateOwner,
};

/// Whether a user's containers may be made from a template. A confirmed template has no `owner`, and
/// all may use it. A template of a container is only for containers of the same function and tenant.
///
/// A container without a function or without a tenant shares its template with no other.
pub(super) fn may_use(owner: Option<&TemplateOwner>, user: &User) -> bool {
    owner.is_none_or(|TemplateOwner { tenant, function }| {
        let is_named = function.is_some() && tenant.is_some();
        is_named && (function, tenant) == (&user.function, &user.tenant)
    })
}

/// Fails if the template is not confirmed and the user may not use it.
pub(crate) fn check_use(
    name: Option<&TemplateName>,
    owner: Option<&TemplateOwner>,
    user: &User,
) -> Result<(), NodeError> {
    match (name, owner) {
        (Some(name), Some(owner)) if !may_use(Some(owner), user) => {
            let (name, owner) = (name.clone(), owner.clone());
            Err(StoredTemplateError::NotConfirmed { name, owner }.into())
        }
        _ => Ok(()),
    }
}

/// As [`check_use`], for the template of a user's pool.
pub(crate) fn check_pool_use(pool: &EffectivePool, user: &User) -> Result<(), NodeError> {
    check_use(pool.id.template.as_ref(), pool.template_owner.as_ref(), user)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(tenant: Option<&str>, function: Option<&str>) -> User {
        User {
            tenant: tenant.map(|name| name.parse().unwrap()),
            function: function.map(|name| name.parse().unwrap()),
            ..User::default()
        }
    }

    fn owner(tenant: Option<&str>, function: Option<&str>) -> TemplateOwner {
        let User { tenant, function, .. } = user(tenant, function);
        TemplateOwner { tenant, function }
    }

    #[test]
    fn all_may_use_a_confirmed_template() {
        for user in [user(None, None), user(Some("a"), Some("f"))] {
            assert!(may_use(None, &user), "{user:?}");
        }
    }

    #[test]
    fn a_containers_template_is_for_its_function_of_its_tenant_alone() {
        let own = owner(Some("a"), Some("f"));
        assert!(may_use(Some(&own), &user(Some("a"), Some("f"))));
        for (tenant, function) in
            [(Some("b"), Some("f")), (Some("a"), Some("g")), (None, Some("f")), (Some("a"), None)]
        {
            assert!(!may_use(Some(&own), &user(tenant, function)), "{tenant:?} {function:?}");
        }
    }

    #[test]
    fn a_template_of_a_container_without_a_function_or_a_tenant_is_for_nobody() {
        for (tenant, function) in [(None, None), (Some("a"), None), (None, Some("f"))] {
            let (own, user) = (owner(tenant, function), user(tenant, function));
            assert!(!may_use(Some(&own), &user), "{tenant:?} {function:?}");
        }
    }

    #[test]
    fn a_refusal_names_the_template_whose_it_is_and_the_command() {
        let name = "tuned".parse().unwrap();
        let own = owner(Some("a"), Some("resize"));
        let error = check_use(Some(&name), Some(&own), &user(Some("b"), Some("resize")));
        let said = error.unwrap_err().to_string();
        for part in ["template tuned", "resize of tenant a", "repoint template confirm tuned"] {
            assert!(said.contains(part), "{said}");
        }
    }
}
