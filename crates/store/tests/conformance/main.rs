//! One suite for both databases. Where no PostgreSQL is installed its half says so and passes,
//! unless `CI=true`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests; the lints do not know their helpers as such"
)]

mod accounts;
mod checkpoint;
mod crash;
mod nodes;
mod performance;
mod records;
mod revisions;
mod rollouts;
mod schema;
mod sites;
mod support;

/// Runs each behaviour on both databases.
macro_rules! conformance {
    ($($module:ident: $($name:ident),* $(,)?;)*) => {
        mod sqlite {
            $(mod $module {$(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let db = crate::support::TestDb::sqlite().await;
                    crate::$module::$name(&db).await;
                    db.remove().await;
                }
            )*})*
        }
        mod postgres {
            $(mod $module {$(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let name = concat!("postgres::", stringify!($module), "::", stringify!($name));
                    let Some(db) = crate::support::TestDb::postgres(name).await else { return };
                    crate::$module::$name(&db).await;
                    db.remove().await;
                }
            )*})*
        }
    };
}

conformance! {
    sites:
        a_site_is_read_back_as_it_was_written,
        another_owners_sites_never_appear,
        an_owner_changes_nothing_but_own_sites,
        a_name_is_had_once,
        names_and_hosts_can_be_exchanged_in_one_revision,
        a_host_belongs_to_one_owner,
        text_is_found_in_names_and_hosts,
        rare_and_common_texts_are_found_alike,
        short_texts_are_found_wherever_they_stand,
        sites_are_read_by_their_names,
        hosts_and_tags_follow_every_change,
        a_host_that_stays_is_judged_with_its_new_owner,
        filters_are_combined,
        pages_show_every_site_once,
        an_owner_has_no_more_sites_than_permitted,
        a_blocked_site_stays_blocked,
        a_deleted_site_leaves_only_its_history;
    revisions:
        an_update_of_an_older_version_is_refused,
        what_was_judged_before_any_other_change_is_refused,
        a_refused_revision_leaves_nothing,
        the_same_request_is_carried_out_once,
        history_shows_each_version_and_state,
        what_a_node_misses_comes_once_and_in_order,
        concurrent_writers_lose_nothing,
        revisions_become_visible_in_their_order,
        a_large_revision_is_written_whole,
        a_revision_takes_few_statements;
    accounts:
        a_user_is_read_back_and_found_by_name,
        users_are_read_by_their_ids,
        the_last_administrator_stays,
        a_user_with_sites_stays,
        a_session_is_valid_until_one_of_its_ends,
        a_session_changes_its_secret_once,
        a_changed_password_keeps_one_session_and_ends_the_links,
        a_link_sets_one_password,
        names_of_many_users_are_read_at_once,
        a_link_works_once,
        a_token_is_valid_until_one_of_its_ends,
        guessing_a_password_is_limited_also_in_parallel;
    records:
        the_audit_log_is_filtered_and_paged,
        secrets_are_kept_once_and_forgotten_when_nothing_refers_to_them,
        an_installation_is_made_once,
        a_rotation_seals_everything_or_nothing,
        certificates_follow_their_sites,
        a_deployment_advances_once,
        a_node_keeps_what_was_proven_there,
        a_place_among_the_roots_is_had_once,
        new_certificates_are_listed_in_the_order_of_their_making,
        a_task_is_run_by_one_manager,
        a_dead_managers_task_is_taken_over,
        a_machine_has_tasks_of_its_own,
        managers_have_different_names,
        a_key_whose_attempt_died_is_free_again,
        an_idempotency_key_is_remembered_for_a_day,
        health_tells_what_the_database_is;
    nodes:
        a_declared_node_is_read_back_and_found_by_what_it_is,
        a_name_is_had_by_one_node,
        an_edge_of_a_manager_is_not_declared,
        only_who_sees_everything_declares_nodes,
        sites_are_found_by_the_nodes_they_choose,
        a_site_names_only_nodes_that_are_there,
        a_node_that_sites_name_stays,
        a_node_is_remembered_until_it_is_cleaned,
        a_node_that_is_declared_again_is_not_cleaned,
        what_was_read_on_a_node_is_kept_apart,
        the_last_reading_of_a_node_is_kept,
        what_was_seen_of_a_node_is_kept_with_its_time,
        a_node_is_held_by_one_manager_under_growing_numbers,
        a_deployment_keeps_its_release;
    rollouts:
        a_rollout_is_there_with_its_revision_or_not_at_all,
        of_two_that_take_a_rollout_on_one_does,
        what_nodes_had_is_read_for_the_one_that_goes_back,
        rollouts_are_listed_and_forgotten_when_they_decide_nothing,
        the_numbers_of_events_grow_as_they_are_seen,
        steps_are_kept_with_their_deployment;
    schema:
        an_open_store_can_be_opened_again,
        managers_that_start_together_migrate_once,
        a_newer_schema_is_refused,
        a_damaged_row_is_named,
        sites_of_an_earlier_schema_are_found_by_short_texts,
        foreign_cursors_are_refused;
    crash:
        a_killed_writer_loses_nothing_it_was_told_is_written;
    performance:
        timings_with_many_sites,
        many_changes_bring_new_statistics;
}
