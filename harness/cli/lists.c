/* harrow scenarios, targets, models: what there is. */
#include "harness/cli/cli.h"

#include <stdlib.h>

#include "checkers/transactions/transactions.h"
#include "harness/embedded.h"
#include "targets/foreign/foreign.h"

/* --- scenarios --- */

static void scenario_row(struct cli *c, const struct embedded_file *file, json_t *array) {
    struct error e = {{0}};
    struct script_options o = {0};
    struct script *s = script_load(file->name, bytes_of(file->text, file->size), &o, &e);
    const struct scenario *k = s ? script_scenario(s) : NULL;
    char *name = xstrdup(file->name + strlen("scenarios/"));
    name[strlen(name) - strlen(".lua")] = 0;
    if (c->json)
        json_array_append_new(array,
                              json_pack("{s:s, s:s, s:o, s:I, s:f}", "name", name, "path", file->name, "doc",
                                        json_text(k ? k->doc : e.text), "nodes", (json_int_t)(k ? k->world.nodes : 0),
                                        "time", k ? (double)k->time_ns / (double)NS_PER_S : 0.0));
    else if (k)
        printf("%-21s %2u nodes %5.0f s  %s\n", name, k->world.nodes, (double)k->time_ns / (double)NS_PER_S,
               k->doc ? k->doc : "");
    else
        printf("%-21s does not load: %s\n", name, e.text);
    free(name);
    if (s) script_free(s);
}

int command_scenarios(struct cli *c) {
    json_t *array = json_array();
    for (size_t i = 0; i < embedded_files_count; i++)
        if (strncmp(embedded_files[i].name, "scenarios/", strlen("scenarios/")) == 0)
            scenario_row(c, &embedded_files[i], array);
    if (c->json)
        cli_print_json(array);
    else
        json_decref(array);
    return EXIT_VALID;
}

/* --- targets, models --- */

/* Takes `settings` over. */
static void target_row(struct cli *c, const char *name, const char *doc, const char *missing, json_t *settings,
                       json_t *array) {
    json_array_append_new(array, json_pack("{s:s, s:o, s:o, s:o}", "name", name, "doc", json_text(doc), "missing",
                                           missing ? json_text(missing) : json_null(), "settings", settings));
    if (c->json) return;
    printf("%-12s %s%s%s%s\n", name, doc, missing ? " (" : "", missing ? missing : "", missing ? ")" : "");
    size_t i, n;
    json_t *setting, *value;
    json_array_foreach(settings, i, setting) {
        printf("%s:%s=", i ? "" : "             ", json_string_value(json_object_get(setting, "name")));
        json_array_foreach(json_object_get(setting, "values"), n, value) {
            printf("%s%s", n ? "|" : "", json_string_value(value));
        }
    }
    if (json_array_size(settings)) putchar('\n');
}

/* Of each the default first; where that is the only value, any text will do. */
static json_t *settings_of(const struct foreign_target *t) {
    json_t *array = json_array();
    size_t count;
    const struct foreign_setting *settings = foreign_settings_all(t, &count);
    for (size_t i = 0; i < count; i++) {
        json_t *values = json_array();
        for (size_t n = 0; n < settings[i].values_count; n++)
            json_array_append_new(values, json_text(settings[i].values[n]));
        json_array_append_new(array, json_pack("{s:s, s:o}", "name", settings[i].name, "values", values));
    }
    return array;
}

static void foreign_row(struct cli *c, const struct embedded_file *file, json_t *array) {
    struct error e = {{0}};
    struct foreign_target *t = foreign_load(file->name, bytes_of(file->text, file->size), &e);
    if (t) {
        target_row(c, foreign_name(t), foreign_doc(t), foreign_missing(t), settings_of(t), array);
    } else {
        target_row(c, file->name, "does not load", e.text, json_array(), array);
    }
    foreign_free(t);
}

int command_targets(struct cli *c) {
    json_t *array = json_array();
    for (const struct target_info *t = targets_all(); t->name; t++)
        target_row(c, t->name, t->doc, NULL, json_array(), array);
    for (size_t i = 0; i < embedded_files_count; i++) {
        const struct embedded_file *file = &embedded_files[i];
        if (strncmp(file->name, "targets/", strlen("targets/")) == 0) foreign_row(c, file, array);
    }
    if (c->json)
        cli_print_json(array);
    else
        json_decref(array);
    return EXIT_VALID;
}

static json_t *consistency_list(void) {
    json_t *list = json_array();
    for (size_t i = 0; consistency_name(i); i++) json_array_append_new(list, json_string(consistency_name(i)));
    return list;
}

static void print_consistencies(void) {
    printf("\nWhat --consistency takes, for list-append and rw-register:\n");
    for (size_t i = 0; consistency_name(i); i++) printf("  %-34s %s\n", consistency_name(i), consistency_doc(i));
}

int command_models(struct cli *c) {
    size_t count = 0;
    const struct checker *all = checkers_all(&count);
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++) {
        const char *also = all[i].also ? all[i].also : "";
        json_t *row = json_pack("{s:s, s:s, s:s, s:s}", "name", all[i].name, "also", also, "doc", all[i].doc,
                                "operations", all[i].functions);
        if (all[i].takes_consistency) json_object_set_new(row, "consistency", consistency_list());
        json_array_append_new(array, row);
        if (c->json) continue;
        printf("%-18s %s: %s%s%s%s\n", all[i].name, all[i].doc, all[i].functions, *also ? " (also: " : "", also,
               *also ? ")" : "");
    }
    if (!c->json) print_consistencies();
    if (c->json)
        cli_print_json(array);
    else
        json_decref(array);
    return EXIT_VALID;
}
