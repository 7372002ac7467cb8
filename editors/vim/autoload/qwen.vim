" The connection to the server, and what is shown of it. Positions count bytes (UTF-8), as Vim's columns do.

let s:job = v:null
let s:ready = 0
let s:waiting = []     " what is to be done once the server is ready
let s:opened = {}      " buffer: the changedtick that the server has
let s:shown = {}       " the suggestion on the screen: buffer, tick, line, column, text
let s:timer = -1
let s:on = 1

" --- the server ---------------------------------------------------------------------------------------------

function! qwen#start() abort
  if s:job isnot v:null && job_status(s:job) ==# 'run'
    return 1
  endif
  let [s:ready, s:opened] = [0, {}]
  let l:command = get(g:, 'qwen_command', ['qwen', 'code-fim', '--lsp'])
  if !executable(l:command[0])
    call s:tell(l:command[0] .. ' is not in PATH. Set g:qwen_command')
    let s:on = 0
    return 0
  endif
  let s:job = job_start(l:command, #{
        \ in_mode: 'lsp', out_mode: 'lsp', err_io: 'null',
        \ out_cb: function('s:received'), exit_cb: function('s:ended')})
  call s:request('initialize', #{
        \ processId: getpid(), rootUri: v:null,
        \ initializationOptions: get(g:, 'qwen_options', #{mode: 'auto'}),
        \ capabilities: #{
        \   general: #{positionEncodings: ['utf-8']},
        \   textDocument: #{inlineCompletion: {}},
        \   workspace: #{applyEdit: v:true, workspaceEdit: #{documentChanges: v:true}},
        \   experimental: #{qwenInstruction: v:true}}},
        \ function('s:initialized'))
  return 1
endfunction

function! qwen#stop() abort
  if s:job isnot v:null && job_status(s:job) ==# 'run'
    call job_stop(s:job)
  endif
endfunction

function! s:initialized(reply) abort
  call s:notify('initialized', {})
  let s:ready = 1
  let [l:waiting, s:waiting] = [s:waiting, []]
  for l:Work in l:waiting
    call l:Work()
  endfor
endfunction

function! s:ended(job, status) abort
  let [s:job, s:ready] = [v:null, 0]
  if a:status != 0 && !v:dying && v:exiting is v:null
    call s:tell('the server ended with ' .. a:status .. '. Run `qwen code-fim --lsp` in a terminal to see why')
    let s:on = 0
  endif
endfunction

" Runs Work once the server is ready.
function! s:with_server(Work) abort
  if !qwen#start()
    return
  endif
  if s:ready
    call a:Work()
  else
    call add(s:waiting, a:Work)
  endif
endfunction

function! s:notify(method, params) abort
  call ch_sendexpr(s:job, #{method: a:method, params: a:params})
endfunction

" Done is called with the result, v:null where there is none.
function! s:request(method, params, Done) abort
  let l:Answered = {channel, reply -> a:Done(get(reply, 'result', v:null))}
  call ch_sendexpr(s:job, #{method: a:method, params: a:params}, #{callback: l:Answered})
endfunction

function! s:received(channel, message) abort
  let l:method = get(a:message, 'method', '')
  if l:method ==# 'window/showMessage'
    call s:tell(substitute(a:message.params.message, '^qwen: ', '', ''))
  elseif has_key(a:message, 'id')
    let l:result = v:null
    if l:method ==# 'workspace/applyEdit'
      let l:result = #{applied: s:apply(a:message.params.edit)}
    elseif l:method ==# 'qwen/instruction'
      let l:result = input('Edit with qwen: ')
    endif
    call ch_sendexpr(s:job, #{id: a:message.id, result: l:result})
  endif
endfunction

function! s:tell(text) abort
  echohl WarningMsg
  echomsg 'qwen: ' .. a:text
  echohl None
endfunction

" --- documents ----------------------------------------------------------------------------------------------

function! s:uri(buffer) abort
  let l:name = fnamemodify(bufname(a:buffer), ':p')
  if bufname(a:buffer) ==# ''
    return 'untitled:Untitled-' .. a:buffer
  endif
  return 'file://' .. substitute(l:name, '[^A-Za-z0-9/._~-]', '\=s:percent(submatch(0))', 'g')
endfunction

function! s:percent(character) abort
  return join(map(range(strlen(a:character)), {_, n -> printf('%%%02X', char2nr(a:character[n]))}), '')
endfunction

function! s:text(buffer) abort
  let l:end = getbufvar(a:buffer, '&endofline') || getbufvar(a:buffer, '&fixendofline') ? "\n" : ''
  return join(getbufline(a:buffer, 1, '$'), "\n") .. l:end
endfunction

" Tells the server the text of a buffer, where it is another than it has.
function! s:sync(buffer) abort
  let l:tick = getbufvar(a:buffer, 'changedtick')
  let l:document = #{uri: s:uri(a:buffer), version: l:tick}
  if !has_key(s:opened, a:buffer)
    let l:document = extend(l:document, #{languageId: getbufvar(a:buffer, '&filetype'), text: s:text(a:buffer)})
    call s:notify('textDocument/didOpen', #{textDocument: l:document})
  elseif s:opened[a:buffer] != l:tick
    let l:changes = [#{text: s:text(a:buffer)}]
    call s:notify('textDocument/didChange', #{textDocument: l:document, contentChanges: l:changes})
  endif
  let s:opened[a:buffer] = l:tick
endfunction

function! qwen#saved() abort
  if s:ready && has_key(s:opened, bufnr())
    call s:notify('textDocument/didSave', #{textDocument: #{uri: s:uri(bufnr())}})
  endif
endfunction

function! qwen#closed(buffer) abort
  if has_key(s:opened, a:buffer)
    call remove(s:opened, a:buffer)
    if s:ready
      call s:notify('textDocument/didClose', #{textDocument: #{uri: s:uri(a:buffer)}})
    endif
  endif
endfunction

" --- suggestions --------------------------------------------------------------------------------------------

function! qwen#toggle() abort
  let s:on = !s:on
  call qwen#clear()
  echo 'qwen: suggestions are ' .. (s:on ? 'on' : 'off')
endfunction

function! s:wanted() abort
  let l:types = get(g:, 'qwen_filetypes', [])
  return s:on && &buftype ==# '' && &modifiable && &filetype !=# ''
        \ && (empty(l:types) || index(l:types, &filetype) >= 0)
endfunction

function! qwen#moved() abort
  if s:is_current()
    return
  endif
  call qwen#clear()
  if s:wanted()
    let s:timer = timer_start(get(g:, 'qwen_delay', 150), {-> s:ask()})
  endif
endfunction

function! s:ask() abort
  if mode() =~# '^i'
    call s:with_server(function('s:complete'))
  endif
endfunction

function! s:complete() abort
  let l:buffer = bufnr()
  call s:sync(l:buffer)
  let l:at = [l:buffer, b:changedtick, line('.'), col('.')]
  let l:place = #{line: l:at[2] - 1, character: l:at[3] - 1}
  call s:request('textDocument/inlineCompletion',
        \ #{textDocument: #{uri: s:uri(l:buffer)}, position: l:place, context: #{triggerKind: 2}},
        \ {result -> s:show(l:at, result)})
endfunction

function! s:show(at, result) abort
  let l:items = type(a:result) == v:t_dict ? get(a:result, 'items', []) : []
  if empty(l:items) || mode() !~# '^i' || a:at != [bufnr(), b:changedtick, line('.'), col('.')]
    return
  endif
  let l:text = type(l:items[0].insertText) == v:t_dict ? l:items[0].insertText.value : l:items[0].insertText
  call qwen#clear()
  if empty(prop_type_get('QwenSuggestion'))
    call prop_type_add('QwenSuggestion', #{highlight: 'QwenSuggestion'})
  endif
  let l:lines = split(l:text, "\n", 1)
  if l:lines[0] !=# ''
    call prop_add(a:at[2], a:at[3], #{type: 'QwenSuggestion', text: s:visible(l:lines[0])})
  endif
  for l:line in l:lines[1:]
    let l:below = #{type: 'QwenSuggestion', text: s:visible(l:line), text_align: 'below'}
    call prop_add(a:at[2], 0, l:below)
  endfor
  let s:shown = #{at: a:at, text: l:text}
endfunction

" Virtual text with neither tabs nor control characters, which would not be drawn as they are.
function! s:visible(line) abort
  let l:line = substitute(a:line, '\t', repeat(' ', shiftwidth()), 'g')
  let l:line = substitute(l:line, '[[:cntrl:]]', '', 'g')
  return l:line ==# '' ? ' ' : l:line
endfunction

function! s:is_current() abort
  return !empty(s:shown) && s:shown.at == [bufnr(), b:changedtick, line('.'), col('.')]
endfunction

function! qwen#clear() abort
  call timer_stop(s:timer)
  if !empty(s:shown) && bufexists(s:shown.at[0])
    call prop_remove(#{type: 'QwenSuggestion', bufnr: s:shown.at[0], all: v:true})
  endif
  let s:shown = {}
endfunction

" The keys that take the suggestion, `otherwise` where none is shown.
function! qwen#accept(otherwise) abort
  return s:is_current() ? "\<C-R>\<C-O>=qwen#take()\<CR>" : a:otherwise
endfunction

function! qwen#take() abort
  let l:text = get(s:shown, 'text', '')
  call qwen#clear()
  return l:text
endfunction

" --- edits --------------------------------------------------------------------------------------------------

function! qwen#edit(lines, instruction) abort
  let l:words = a:instruction ==# '' ? input('Edit with qwen: ') : a:instruction
  if trim(l:words) !=# ''
    call s:with_server(function('s:edit', [bufnr(), a:lines, l:words]))
  endif
endfunction

function! s:edit(buffer, lines, words) abort
  call s:sync(a:buffer)
  let l:range = empty(a:lines)
        \ ? #{start: #{line: 0, character: 0}, end: #{line: 0, character: 0}}
        \ : #{start: #{line: a:lines[0] - 1, character: 0}, end: #{line: a:lines[1], character: 0}}
  let l:wanted = #{uri: s:uri(a:buffer), range: l:range, instruction: a:words}
  call s:request('workspace/executeCommand', #{command: 'qwen.edit', arguments: [l:wanted]}, {result -> 0})
endfunction

" Applies a change to one buffer, if it is for the text that stands there.
function! s:apply(edit) abort
  for l:document in get(a:edit, 'documentChanges', [])
    let l:named = l:document.textDocument
    let l:found = filter(map(keys(s:opened), 'str2nr(v:val)'), {_, n -> s:uri(n) ==# l:named.uri})
    if empty(l:found) || l:named.version != getbufvar(l:found[0], 'changedtick')
      return v:false
    endif
    for l:change in l:document.edits
      call s:replace(l:found[0], l:change.range, l:change.newText)
    endfor
  endfor
  return v:true
endfunction

function! s:replace(buffer, range, text) abort
  let [l:start, l:end] = [a:range.start, a:range.end]
  let l:first = get(getbufline(a:buffer, l:start.line + 1), 0, '')
  let l:last = get(getbufline(a:buffer, l:end.line + 1), 0, '')
  let l:before = strpart(l:first, 0, l:start.character)
  let l:after = strpart(l:last, l:end.character)
  let l:count = len(getbufline(a:buffer, 1, '$'))
  let l:lines = split(l:before .. a:text .. l:after, "\n", 1)
  if l:end.line >= l:count && l:lines[-1] ==# ''  " the change ends where the text ends
    call remove(l:lines, -1)
  endif
  call appendbufline(a:buffer, min([l:end.line + 1, l:count]), l:lines)
  call deletebufline(a:buffer, l:start.line + 1, min([l:end.line + 1, l:count]))
endfunction
