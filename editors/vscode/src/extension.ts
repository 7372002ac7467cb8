// Starts `qwen code-fim --lsp` and connects it to VS Code: suggestions in the text, and edits by instruction.

import * as vscode from 'vscode'
import {
  ExecuteCommandRequest,
  LanguageClient,
  type ClientCapabilities,
  type StaticFeature,
} from 'vscode-languageclient/node'
import { ASK, EDIT, initializationOptions, serverArguments, type EditRequest } from './protocol'

let client: LanguageClient | undefined

/** Tells the server that it may ask for an instruction. */
const canAsk: StaticFeature = {
  fillClientCapabilities(capabilities: ClientCapabilities): void {
    capabilities.experimental = { ...capabilities.experimental, qwenInstruction: true }
  },
  initialize(): void {},
  getState: () => ({ kind: 'static' }),
  clear(): void {},
}

export async function activate(context: vscode.ExtensionContext): Promise<void> {
  context.subscriptions.push(
    vscode.commands.registerTextEditorCommand('qwen.editSelection', editSelection),
    vscode.commands.registerCommand('qwen.restart', restart),
    vscode.workspace.onDidChangeConfiguration((change) => {
      if (change.affectsConfiguration('qwen')) void restart()
    }),
  )
  await start()
}

export async function deactivate(): Promise<void> {
  await client?.stop()
}

async function start(): Promise<void> {
  const settings = vscode.workspace.getConfiguration('qwen')
  const command = settings.get<string>('path', 'qwen')
  const server = { command, args: serverArguments(settings.get<string[]>('arguments', [])) }
  client = new LanguageClient('qwen', 'qwen', server, {
    documentSelector: ['file', 'untitled', 'vscode-notebook-cell'].map((scheme) => ({ scheme })),
    initializationOptions: initializationOptions((name) => settings.get(name)),
  })
  client.registerFeature(canAsk)
  client.onRequest(ASK, async () => (await instruction()) ?? null)
  try {
    await client.start()
  } catch (fault) {
    void vscode.window.showErrorMessage(`qwen: ${command} does not start: ${String(fault)}. Set qwen.path`)
  }
}

async function restart(): Promise<void> {
  await client?.stop().catch(() => undefined) // one that never started
  await start()
}

function instruction(): Thenable<string | undefined> {
  return vscode.window.showInputBox({ title: 'Edit with qwen', prompt: 'What to change', ignoreFocusOut: true })
}

async function editSelection(editor: vscode.TextEditor): Promise<void> {
  const words = await instruction()
  const running = client
  if (!words?.trim() || running === undefined) return
  const request: EditRequest = {
    uri: running.code2ProtocolConverter.asUri(editor.document.uri),
    range: running.code2ProtocolConverter.asRange(editor.selection),
    instruction: words,
  }
  const progress = { location: vscode.ProgressLocation.Notification, title: 'qwen: editing …', cancellable: true }
  await vscode.window.withProgress(progress, (_, cancelled) =>
    running.sendRequest(ExecuteCommandRequest.type, { command: EDIT, arguments: [request] }, cancelled),
  )
}
