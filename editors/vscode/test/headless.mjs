// Talks to the server as the extension does, without VS Code:
//
//     node test/headless.mjs COMMAND [ARGUMENT…]
//
// COMMAND is `qwen code-fim --lsp` if none is given. Ends with 0 once a suggestion and an edit have come.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)
const rpc = require('vscode-languageserver-protocol/node')
const { ASK, EDIT, initializationOptions, serverArguments } = require('../dist/protocol.js')

const given = process.argv.slice(2)
const [command, ...args] = given.length ? given : ['qwen', ...serverArguments([])]
const server = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] })
const connection = rpc.createMessageConnection(
  new rpc.StreamMessageReader(server.stdout),
  new rpc.StreamMessageWriter(server.stdin),
)
const uri = 'untitled:Untitled-1'
const text = 'def area(w, h):\n    return w * h\n\n\ntotal = area('
const asked = []
const applied = []

connection.onRequest(ASK, (target) => {
  asked.push(target)
  return 'swap the factors'
})
connection.onRequest(rpc.ApplyWorkspaceEditRequest.method, (params) => {
  applied.push(params.edit)
  return { applied: true }
})
connection.onNotification(rpc.ShowMessageNotification.method, (params) => console.error(params.message))
connection.listen()

const { capabilities } = await connection.sendRequest('initialize', {
  processId: process.pid,
  rootUri: null,
  capabilities: {
    textDocument: { inlineCompletion: {} },
    workspace: { applyEdit: true, workspaceEdit: { documentChanges: true } },
    experimental: { qwenInstruction: true },
  },
  initializationOptions: initializationOptions((name) => ({ mode: 'line', debounceMs: 0 })[name]),
})
assert.ok(capabilities.inlineCompletionProvider)
assert.ok(capabilities.codeActionProvider)
assert.deepEqual(capabilities.executeCommandProvider.commands, [EDIT])
await connection.sendNotification('initialized', {})
await connection.sendNotification('textDocument/didOpen', {
  textDocument: { uri, languageId: 'python', version: 1, text },
})

const answer = await connection.sendRequest('textDocument/inlineCompletion', {
  textDocument: { uri },
  position: { line: 4, character: 13 },
  context: { triggerKind: 1 },
})
console.log(`suggestion ${JSON.stringify(answer.items[0].insertText)}`)

const range = { start: { line: 0, character: 0 }, end: { line: 2, character: 0 } }
const context = { diagnostics: [], only: ['refactor'] }
const [action] = await connection.sendRequest('textDocument/codeAction', { textDocument: { uri }, range, context })
assert.equal(action.command.command, EDIT)
const done = await connection.sendRequest('workspace/executeCommand', {
  command: action.command.command,
  arguments: action.command.arguments,
})
assert.equal(asked[0].uri, uri)
if (done) {
  const [change] = applied[0].documentChanges
  assert.deepEqual([change.textDocument.uri, change.textDocument.version], [uri, 1])
  console.log(`edit ${JSON.stringify(change.edits[0].newText)}`)
}

await connection.sendRequest('shutdown')
await connection.sendNotification('exit')
const code = await new Promise((resolve) => server.on('exit', resolve))
process.exit(code ?? 1)
