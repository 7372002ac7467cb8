// What the server and its clients say to each other beside the protocol. Nothing of VS Code is imported here.

/** Command of the server: edit `range` of the open document `uri` as `instruction` says. */
export const EDIT = 'qwen.edit'

/** Request of the server to an editor that says `experimental: {qwenInstruction: true}`: ask the person. */
export const ASK = 'qwen/instruction'

export interface Position {
  line: number
  character: number
}

export interface EditTarget {
  uri: string
  range: { start: Position; end: Position }
}

export interface EditRequest extends EditTarget {
  instruction: string
}

/** Settings that are sent to the server when it starts, under the names that the person gives them. */
export const SETTINGS = ['mode', 'debounceMs', 'timeLimitMs', 'maxTokens', 'repository'] as const

export function initializationOptions(get: (name: string) => unknown): Record<string, unknown> {
  const given = SETTINGS.map((name) => [name, get(name)] as const)
  return Object.fromEntries(given.filter(([, value]) => value !== undefined && value !== null))
}

export function serverArguments(further: readonly string[]): string[] {
  return ['code-fim', '--lsp', ...further]
}
