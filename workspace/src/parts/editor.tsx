// The SQL editor: CodeMirror with PostgreSQL's grammar, and completion of views, columns and metrics.
//
// It lives in a shadow root. There, CodeMirror uses constructed style sheets, which our strict security policy allows.

import {
  autocompletion,
  type CompletionContext,
  type CompletionResult,
  completionKeymap,
} from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { PostgreSQL, sql } from "@codemirror/lang-sql";
import { bracketMatching, HighlightStyle, syntaxHighlighting, syntaxTree } from "@codemirror/language";
import { Compartment, EditorState, Prec } from "@codemirror/state";
import { drawSelection, EditorView, keymap, lineNumbers } from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { type ReadonlySignal, useSignalEffect } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type { Relation } from "../data/sql.ts";

interface Props {
  text: ReadonlySignal<string>;
  relations: readonly Relation[];
  metrics: readonly { name: string; runs: number }[];
  onText: (text: string) => void;
  onRun: () => void;
}

const COLOURS = HighlightStyle.define([
  { tag: tags.keyword, color: "var(--accent)" },
  { tag: [tags.string, tags.special(tags.string)], color: "var(--good)" },
  { tag: [tags.number, tags.bool, tags.null], color: "var(--warn)" },
  { tag: tags.comment, color: "var(--text-3)" },
]);

const LOOK = EditorView.theme({
  "&": { color: "var(--text)", backgroundColor: "transparent", height: "100%" },
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": { fontFamily: "var(--mono)", fontSize: "12.5px", lineHeight: "20px", overflow: "auto" },
  ".cm-content": { padding: "10px 0", caretColor: "var(--text)" },
  ".cm-gutters": { background: "none", border: "none", color: "var(--text-3)", paddingLeft: "8px" },
  ".cm-lineNumbers .cm-gutterElement": { minWidth: "26px", paddingRight: "10px" },
  ".cm-cursor": { borderLeftColor: "var(--text)", borderLeftWidth: "1.5px" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": {
    background: "var(--accent-soft)",
  },
  "&.cm-focused .cm-matchingBracket": { backgroundColor: "var(--accent-soft)" },
  ".cm-tooltip": {
    background: "var(--raised)",
    border: "1px solid var(--line-2)",
    borderRadius: "var(--r-m)",
    boxShadow: "var(--shadow-pop)",
    overflow: "hidden",
  },
  ".cm-tooltip.cm-tooltip-autocomplete > ul": { fontFamily: "var(--sans)", fontSize: "12px", minWidth: "240px" },
  ".cm-tooltip.cm-tooltip-autocomplete > ul > li": {
    display: "flex",
    justifyContent: "space-between",
    gap: "16px",
    padding: "4px 8px",
    lineHeight: "1.4",
  },
  ".cm-tooltip-autocomplete ul li[aria-selected]": { background: "var(--accent-soft)", color: "var(--text)" },
  ".cm-completionDetail": { color: "var(--text-3)", fontStyle: "normal" },
  ".cm-completionMatchedText": { textDecoration: "none", fontWeight: "600" },
  ".cm-completionIcon": { display: "none" },
  ".cm-completionInfo": { padding: "6px 10px", color: "var(--text-2)", fontFamily: "var(--sans)", fontSize: "12px" },
});

export default function Editor({ text, relations, metrics, onText, onRun }: Props) {
  const host = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView | null>(null);
  const language = useRef(new Compartment());
  const told = useRef({ onText, onRun });
  told.current = { onText, onRun };

  useEffect(() => {
    const root = host.current!.shadowRoot ?? host.current!.attachShadow({ mode: "open" });
    const made = new EditorView({
      root,
      parent: root,
      state: EditorState.create({
        doc: text.peek(),
        extensions: [
          Prec.highest(
            keymap.of([
              {
                key: "Ctrl-Enter",
                mac: "Cmd-Enter",
                run: () => {
                  told.current.onRun();
                  return true;
                },
              },
            ]),
          ),
          // When a browser replaces a selection itself, it adds style attributes to the rest, which the policy refuses.
          EditorView.domEventHandlers({
            beforeinput(event, editor) {
              if (event.inputType !== "insertText" || event.data === null || editor.state.selection.main.empty)
                return false;
              event.preventDefault();
              editor.dispatch(editor.state.replaceSelection(event.data), { userEvent: "input.type" });
              return true;
            },
          }),
          lineNumbers(),
          history(),
          drawSelection(),
          bracketMatching(),
          autocompletion({ icons: false }),
          // Tab leaves the field, as it does on every page, so that the keyboard focus is never trapped.
          keymap.of([...completionKeymap, ...defaultKeymap, ...historyKeymap]),
          language.current.of(grammar(relations, metrics)),
          syntaxHighlighting(COLOURS),
          LOOK,
          EditorView.lineWrapping,
          EditorView.contentAttributes.of({ "aria-label": "Query", spellcheck: "false" }),
          EditorView.updateListener.of((update) => {
            if (update.docChanged) told.current.onText(update.state.doc.toString());
          }),
        ],
      }),
    });
    view.current = made;
    return () => {
      made.destroy();
      view.current = null;
    };
  }, []);
  useEffect(() => {
    view.current?.dispatch({ effects: language.current.reconfigure(grammar(relations, metrics)) });
  }, [relations, metrics]);
  // Another query was chosen outside: by a view, a link or the back button. Typed text is in the document before it is in
  // the signal, and this effect runs as soon as the signal changes, so it never undoes a keystroke.
  useSignalEffect(() => {
    const wanted = text.value;
    const now = view.current?.state.doc;
    if (now && now.toString() !== wanted)
      view.current!.dispatch({ changes: { from: 0, to: now.length, insert: wanted } });
  });
  return <div class="editor" ref={host} />;
}

function grammar(relations: Props["relations"], metrics: Props["metrics"]) {
  const schema = Object.fromEntries(
    relations.map(({ name, about, columns }) => [
      name,
      {
        self: { label: name, type: "type", detail: "view", info: about },
        children: columns.map((column) => ({
          label: column.name,
          type: "property",
          detail: column.type,
          ...(column.about ? { info: column.about } : {}),
        })),
      },
    ]),
  );
  const names = metrics.map(({ name, runs }) => ({
    label: name,
    type: "constant",
    detail: `metric, ${runs} ${runs === 1 ? "run" : "runs"}`,
  }));
  const inText = (context: CompletionContext): CompletionResult | null => {
    const node = syntaxTree(context.state).resolveInner(context.pos, -1);
    if (node.name !== "String" || context.pos <= node.from) return null;
    return { from: node.from + 1, options: names, validFor: /^[^']*$/u };
  };
  // The grammar offers columns only after "history."; most queries name them without it.
  const columns = (context: CompletionContext): CompletionResult | null => {
    const word = context.matchBefore(/\w+/u);
    if (!word || /['".]/u.test(context.state.sliceDoc(word.from - 1, word.from))) return null;
    const text = context.state.doc.toString();
    const read = relations.filter(({ name }) =>
      new RegExp(`\\b(from|join|,)\\s+(stepwell\\.)?${name}\\b`, "iu").test(text),
    );
    const options = read.flatMap(({ name }) => schema[name]!.children.map((column) => ({ ...column, boost: 50 })));
    return options.length > 0 ? { from: word.from, options, validFor: /^\w*$/u } : null;
  };
  return [
    sql({ dialect: PostgreSQL, schema, upperCaseKeywords: true }),
    PostgreSQL.language.data.of({ autocomplete: inText }),
    PostgreSQL.language.data.of({ autocomplete: columns }),
  ];
}
